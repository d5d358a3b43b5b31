import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.search.archives import CVTArchive, GridArchive
from heredity.search.base import Candidate
from heredity.search.box import Box
from heredity.search.map_elites import MAPElites
from heredity.search.permutations import Permutations

BOX = Box(-2, 3, dim=4)
GRID = GridArchive([-2, -2], [3, 3], [5, 5])


def fitness(x):
    return -np.square(x - 1).sum(axis=-1)


def searcher(**options):
    return MAPElites(BOX, GRID, 4, **options)


def elites(s):
    cells, x, worth, kinds = s.elites
    return {int(c): (x[i].tolist(), float(worth[i]), kinds[i].tolist()) for i, c in enumerate(cells)}


def test_each_cell_keeps_the_best_ever_told():
    s = searcher()
    best = {}
    for _ in range(60):
        candidates = s.ask()
        told = [(float(fitness(c.value)), c.value[:2]) for c in candidates]
        for c, (worth, kind) in zip(candidates, told, strict=True):
            cell = int(GRID.cell(kind[None])[0])
            if cell not in best or worth > best[cell][1]:
                best[cell] = (c.value.tolist(), worth, kind.tolist())
        s.tell(candidates, told)
        assert elites(s) == best
        assert s.coverage == len(best) / 25
        assert s.qd_score == pytest.approx(sum(worth for _, worth, _ in best.values()))
    assert len(best) > 4  # more than the founders could fill


def test_candidates_of_one_cell_in_one_batch_leave_their_best():
    s = searcher()
    x = s.ask_array().copy()
    s.tell_array([1.0, 3.0, 2.0, 3.0], [[0.5, 0.5]] * 4)
    assert elites(s) == {12: (x[1].tolist(), 3.0, [0.5, 0.5])}  # the earlier of equals
    s.ask_array()
    s.tell_array([3.0, 2.0, np.nan, -9.0], [[0.5, 0.5]] * 3 + [[2.9, 2.9]])
    assert elites(s)[12] == (x[1].tolist(), 3.0, [0.5, 0.5])  # equals do not replace
    assert elites(s)[24][1] == -9.0


def test_a_better_candidate_replaces_whatever_the_order_in_the_batch():
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        s = searcher()
        candidates = s.ask()
        told = [(float(place), [0.5, 0.5]) for place in range(4)]
        s.tell([candidates[i] for i in order], [told[i] for i in order])
        assert elites(s)[12][1] == 3.0


@pytest.mark.parametrize("bad", [[np.nan, 0.5], [0.5, np.inf]])
def test_a_descriptor_that_is_not_finite_touches_nothing(bad):
    s = searcher()
    s.tell(s.ask(), [(1.0, [0.5, 0.5])] * 4)
    before = elites(s), s.best
    s.tell(s.ask(), [(9.0, bad), (float("nan"), [2.0, 2.0]), Failed("broken"), (0.5, [0.5, 0.5])])
    assert elites(s) == before[0]
    assert s.best[1] == before[1][1] == 1.0
    with pytest.raises(EvaluationFailed, match="all 4"):
        s.tell(s.ask(), [(9.0, bad)] * 4)
    assert elites(s) == before[0]


def test_outcomes_are_read_by_name_or_as_pairs_or_described():
    def run(tell, **options):
        s = searcher(**options)
        for _ in range(6):
            candidates = s.ask()
            s.tell(candidates, [tell(c.value) for c in candidates])
        return elites(s)

    pairs = run(lambda x: (float(fitness(x)), (x[0], x[1])))
    assert run(lambda x: Ok({"fitness": float(fitness(x)), "a": x[0], "b": x[1]})) == pairs
    named = {"metric": "q", "descriptors": ["a", "b"]}
    assert run(lambda x: Ok({"b": x[1], "other": 5.0, "q": float(fitness(x)), "a": x[0]}), **named) == pairs
    assert run(lambda x: float(fitness(x)), describe=lambda x: x[:2]) == pairs


def test_a_generation_told_in_part_is_saved_with_its_descriptors():
    def make():
        return searcher(seed=5)

    s, again = make(), make()
    s.tell(s.ask(), [(1.0, [0.5, 0.5])] * 4)
    candidates = s.ask()
    s.tell(candidates[:2], [(2.0, [2.0, 2.0]), (float("nan"), [0.0, 0.0])])
    again.load_state_dict(s.state_dict())
    rest = again.ask()
    assert [c.id for c in rest] == [c.id for c in candidates[2:]]
    for one, out in ((s, candidates[2:]), (again, rest)):
        one.tell(out, [(3.0, [-2.0, -2.0]), (0.0, [0.5, 0.5])])
    assert elites(s) == elites(again)
    assert sorted(elites(s)) == [0, 12, 24]
    assert (s.ask_array() == again.ask_array()).all()


def test_a_wrong_tell_leaves_nothing():
    s = searcher()
    candidates = s.ask()
    with pytest.raises(ValueError, match="never asked"):
        s.tell([candidates[0], Candidate(99, candidates[0].value)], [(1.0, [0.5, 0.5])] * 2)
    assert s.state_dict()["round"]["told"] == []
    with pytest.raises(ValueError, match="shape"):
        s.tell(candidates[:1], [(1.0, [0.5])])
    with pytest.raises(ValueError, match="without a descriptor"):
        s.tell(candidates[:1], [1.0])
    assert s.best is None


def test_vectors_vary_along_the_line_to_another_elite():
    s = MAPElites(Box(dim=2), GridArchive([0], [4], [2]), 4000, step=1e-15, line=0.3)
    x = s.ask_array()
    a, b = x[0].copy(), x[1].copy()
    s.tell_array([0.0] * 2 + [np.nan] * 3998, [[1.0], [3.0]] * 2000)
    child = (s.ask_array() - a) / (b - a)
    np.testing.assert_allclose(child[:, 0], child[:, 1], atol=1e-6)  # on the line
    share = np.minimum(np.abs(child[:, 0]), np.abs(child[:, 0] - 1))
    moved = share > 0.001
    assert 0.45 < moved.mean() < 0.55  # half have another elite for a partner
    # A step beyond the middle counts as one from the other side: E min(|z|, 1 − |z|)² is a little below 0.3².
    assert 0.25 < np.sqrt(np.mean(share[moved] ** 2)) < 0.32


def test_any_space_is_illuminated_by_its_own_operators():
    # Orders of six numbers by their first: of each, the best has the others in ascending order, at a known cost.
    def worth(order):
        rest = [v for v in range(6) if v != order[0]]
        return -float(sum(v != w for v, w in zip(order[1:], rest, strict=True)))

    s = MAPElites(Permutations(6), GridArchive([0], [6], [6]), 20, seed=1, floor=-5.0)
    for _ in range(250):
        candidates = s.ask()
        s.tell(candidates, [(worth(c.value), [float(c.value[0])]) for c in candidates])
    cells, orders, fitness, _ = s.elites
    assert cells.tolist() == [order[0] for order in orders] == list(range(6))
    assert fitness.tolist() == [0.0] * 6
    assert s.qd_score == 30
    again = MAPElites(Permutations(6), GridArchive([0], [6], [6]), 20, seed=1)
    again.load_state_dict(s.state_dict())
    assert again.elites[1] == orders
    with pytest.raises(TypeError, match="only vectors"):
        s.ask_array()


@pytest.mark.parametrize("archive", [GridArchive([-2, -2], [3, 3], [10, 10]), CVTArchive([-2, -2], [3, 3], 100)])
def test_illuminates_more_than_random_draws(archive):
    def run(founders):
        box = Box(-2, 3, dim=10)
        s = MAPElites(box, archive, 50, founders=founders, floor=-45.0, describe=lambda x: x[:2])
        for _ in range(40):
            s.tell_array(fitness(s.ask_array()))
        return s.qd_score

    assert run(50) > 1.1 * run(10**9)


def test_wrong_settings_are_named():
    for options in ({"step": 0.0, "line": 0.0}, {"founders": 0}, {"descriptors": ["one"]}):
        with pytest.raises(ValueError, match=r"got|named"):
            searcher(**options)
    with pytest.raises(ValueError, match="archive_shape"):
        MAPElites(BOX, GridArchive([-2, -2], [3, 3], [5, 6]), 4).load_state_dict(searcher().state_dict())
