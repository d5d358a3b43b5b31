"""Novelty: its closed forms, what the archive keeps, and a search that leaves a deceptive slope."""

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok, Pending
from heredity.search.box import Box
from heredity.search.novelty import NoveltyArchive, NoveltySearch


def test_novelty_is_the_mean_distance_to_the_nearest_others():
    x = [[0.0], [1.0], [10.0]]
    assert NoveltyArchive(k=1).score(x).tolist() == [1, 1, 9]
    # k = 2: (1 + 10)/2, (1 + 9)/2, (9 + 10)/2; more neighbours than there are: the same.
    assert NoveltyArchive(k=2).score(x).tolist() == [5.5, 5, 9.5]
    assert NoveltyArchive(k=25).score(x).tolist() == [5.5, 5, 9.5]


def test_the_archive_counts_as_neighbours():
    archive = NoveltyArchive(k=1, p_add=1.0)
    archive.add([[9.0]])
    assert archive.score([[0.0], [10.0]]).tolist() == [9, 1]
    assert NoveltyArchive().score([[3.0, 4.0]]).tolist() == [0]


def test_large_populations_are_scored_in_pieces(monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 3))
    whole = NoveltyArchive(k=4).score(x)
    monkeypatch.setattr("heredity.search.novelty.CHUNK", 120)  # two rows at a time
    np.testing.assert_array_equal(NoveltyArchive(k=4).score(x), whole)
    distances = np.sort(np.linalg.norm(x[:, None] - x[None], axis=-1), axis=1)
    np.testing.assert_allclose(whole, distances[:, 1:5].mean(1))


def test_a_share_is_kept_and_the_draws_go_on_after_loading():
    archive = NoveltyArchive(p_add=0.1, seed=3)
    archive.add(np.arange(2000.0)[:, None])
    assert 150 < len(archive) < 250  # binomial: 200 ± 13.4
    again = NoveltyArchive(p_add=0.1, seed=3)
    again.load_state_dict(archive.state_dict())
    for one in (archive, again):
        one.add(np.arange(500.0)[:, None])
    np.testing.assert_array_equal(archive.behaviours, again.behaviours)


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [[np.nan]], [[1.0, 2.0]]])
def test_wrong_behaviours_are_refused(wrong):
    archive = NoveltyArchive(p_add=1.0)
    archive.add([[0.0]])
    with pytest.raises(ValueError, match="behaviours"):
        archive.score(wrong)


def deceptive(x: np.ndarray) -> tuple[float, list[float]]:
    """Goals at 10 and −10 behind valleys: fitness rises towards 0, and only beyond 8 above that."""
    place = abs(float(x[0]))
    return (-place if place < 8 else 20 - abs(10 - place)), [float(x[0])]


def test_novelty_crosses_a_valley_in_which_fitness_is_lost():
    for seed in range(3):
        search = NoveltySearch(Box(dim=1, scale=3.0), 20, 5, NoveltyArchive(3, 0.1), seed=seed)
        for _ in range(60):
            asked = search.ask()
            search.tell(asked, [deceptive(c.value) for c in asked])
        assert search.best is not None
        assert search.best[1] > 15


def test_selection_does_not_see_fitness():
    def parents(sign: float) -> list[int]:
        search = NoveltySearch(Box(dim=2), 10, 3, seed=1)
        for _ in range(4):
            asked = search.ask()
            search.tell(asked, [Ok({"f": sign * c.value.sum(), "x": c.value[0], "y": c.value[1]}) for c in asked])
        return [c.id for c in search.parents]

    searches = []
    for sign in (1.0, -1.0):
        search = NoveltySearch(Box(dim=2), 10, 3, behaviour=("x", "y"), metric="f", seed=1)
        for _ in range(4):
            asked = search.ask()
            search.tell(asked, [Ok({"f": sign * c.value.sum(), "x": c.value[0], "y": c.value[1]}) for c in asked])
        searches.append(search)
    up, down = searches
    assert [c.id for c in up.parents] == [c.id for c in down.parents]
    assert up.best[0].id != down.best[0].id
    assert parents(9.0) != parents(0.0)  # where fitness is part of the behaviour it counts


def test_without_fitness_the_most_novel_is_best():
    search = NoveltySearch(Box(dim=1), 3, 1, NoveltyArchive(1))
    asked = search.ask()
    search.tell(asked, [[0.0], [1.0], [10.0]])
    assert search.best == (asked[2], 9.0)
    assert [c.id for c in search.parents] == [asked[2].id]


def test_failures_are_not_neighbours_and_pending_is_refused():
    search = NoveltySearch(Box(dim=1), 3, 1, NoveltyArchive(1, 1.0))
    asked = search.ask()
    with pytest.raises(ValueError, match="pending"):
        search.tell(asked, [Pending()] * 3)
    search.tell(asked, [[0.0], Failed("fell"), [float("nan")]])
    assert search.archive.behaviours.tolist() == [[0.0]]
    asked = search.ask()
    with pytest.raises(EvaluationFailed, match="all 3 candidates of generation 1"):
        search.tell(asked, [Failed("fell")] * 3)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="population"):
        NoveltySearch(Box(dim=1), 3, 4)
    with pytest.raises(ValueError, match="k ≥ 1"):
        NoveltyArchive(k=0)
