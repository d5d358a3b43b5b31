import pytest

from heredity.lab import Lab
from heredity.papers.claim import Cell
from heredity.papers.testbeds.cached_search import CachedSearch, CellWorld, ProgramWorld, trial
from heredity.papers.testbeds.tiny_programs import LINEAR
from heredity.search.cells import Cell as Graph

CELL = Graph(((0, 1), (1, 2)), ("relu",))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("searches") / "lab") as lab:
        yield lab


def search(lab, cache, seed=5, **settings):
    settings = {"budget": 12.0, "population": 6, "tournament": 3, **settings}
    return lab.derive(CachedSearch("programs", seed, cache=cache, **settings), seed=seed)


def test_without_a_cache_every_candidate_is_paid_for(lab):
    notes = search(lab, "none").notes
    assert notes["proposals"] == 12 and notes["hits"] == 0


def test_caches_pay_for_fewer_evaluations_than_candidates(lab):
    plain, syntactic, functional = (search(lab, cache).notes for cache in ("none", "syntactic", "functional"))
    assert plain["proposals"] < syntactic["proposals"] < functional["proposals"]
    assert plain["distinct"] < syntactic["distinct"] < functional["distinct"]


def test_every_look_up_is_charged(lab):
    # At .5 a look-up, eight candidates that are all evaluated cost 12; with hits it is at most 24.
    notes = search(lab, "functional", hash_cost=0.5).notes
    evaluated = notes["proposals"] * (1 - notes["hits"])
    cost = evaluated + 0.5 * notes["proposals"]
    assert cost + 1e-9 >= 12.0 and cost < 13.5


def test_the_limit_on_candidates_ends_a_search_that_finds_nothing_new(lab):
    assert search(lab, "functional", hash_cost=0.0, proposals=40, seed=6).notes["proposals"] == 40


def test_the_curve_never_falls_in_validation_and_its_area_is_the_note(lab):
    model = search(lab, "functional")
    curve = model.weights()["curve"]
    charged, valid, test = curve.T
    assert (valid.diff() > 0).all() and (charged.diff() > 0).all() and charged[-1] <= 12.0
    ends = [*charged[1:].tolist(), 12.0]
    area = sum((end - start) * score for start, end, score in zip(charged, ends, test, strict=True)) / 12.0
    assert model.notes["area"] == pytest.approx(float(area), abs=1e-12)
    assert model.notes["test"] == pytest.approx(float(test[-1]))


def test_few_mantissa_bits_take_one_function_for_another(lab):
    def cells(bits):
        operator = CachedSearch("cells", 5, mantissa_bits=bits, budget=40.0)
        return lab.derive(operator, seed=5).notes

    coarse, fine = cells(1), cells(24)
    # Losses of two cells often agree in exponent and one bit: 3 steps change them little.
    assert coarse["false_hits"] > 0.05 and coarse["hit_error"] > fine["hit_error"]
    assert fine["false_hits"] == 0


def test_noise_reaches_the_search_but_not_what_is_reported(lab):
    exact, noisy = search(lab, "none"), search(lab, "none", noise=0.5)
    own = {round(score, 9) for score in noisy.weights()["curve"][:, 2].tolist()}
    assert exact.notes != noisy.notes and all(0 <= score <= 1 for score in own)


def test_the_same_candidate_has_the_same_score_and_the_seed_divides_the_data():
    cases = ((CellWorld, CELL), (ProgramWorld, LINEAR))
    for kind, candidate in cases:
        a, b = kind(5), kind(6)
        assert a.scores(candidate) == a.scores(candidate)
        assert a.outputs(candidate) != b.outputs(candidate)


def test_a_trial_is_one_search_with_the_arms_settings():
    steps = trial(Cell("functional", "programs", 7, {"cache": "functional", "mantissa_bits": 4}))
    with pytest.raises(StopIteration) as end:
        next(steps)
    found = end.value.value
    assert found.request.operator == CachedSearch("programs", 7, mantissa_bits=4) and found.request.seed == 7
    assert "area" in found.notes
