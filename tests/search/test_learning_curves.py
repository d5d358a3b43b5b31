import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from heredity.errors import EvaluationFailed
from heredity.evaluation.ranking import kendall
from heredity.lab import Child, Lab, Operator, Probe, Request
from heredity.lab.engine import Evolution
from heredity.search.base import Candidate
from heredity.search.box import Box
from heredity.search.learning_curves import (
    CurveStopper,
    LearningTrace,
    PowerLaw,
    correlation_epoch,
    growing_schedule,
    learning_curve_runner,
    mape,
    ranking_reliability,
)
from heredity.search.random_search import RandomSearch

X = np.arange(5000.0, 100_001.0, 5000.0)
EXACT = 97 - 200 * X**-0.5


def traced(y, x=X, **settings):
    trace = LearningTrace(**settings)
    for a, b in zip(x, y, strict=False):
        trace.add(float(a), float(b))
    return trace


def first_converged(tau, **settings):
    trace = LearningTrace(**settings)
    for a, b in zip(X, EXACT, strict=True):
        trace.add(float(a), float(b))
        if trace.converged(tau):
            return a
    return None


def test_layers_are_what_is_left_to_gain():
    trace = traced(EXACT)
    for level in range(3, len(X) + 1):
        assert trace.layer(level) == pytest.approx(200 * X[level - 1] ** -0.5, abs=1e-3)


def test_convergence_is_seen_when_the_layer_is_small_and_the_level_confirmed():
    # χ = 200/√x is 1 at 40,000, level 8; a hair above 1 leaves room for the last bits of a fit.
    assert first_converged(1.0001, look_ahead=0) == 40_000
    # λ = 5 needs levels 3 … 9 to confirm level 3: at x = 45,000, when level 8 has long met it.
    assert first_converged(1.0001, look_ahead=5) == 45_000
    assert traced(EXACT).convergence_level(1.0001) == 8
    assert traced(EXACT).convergence_level(1e-6, by="trace") == 3 + 1  # asymptotes do not move from the first pair on


def test_few_observations_have_no_trend_and_equal_ones_a_flat_one():
    few = traced([50.0, 60.0])
    assert few.trend() is None and few.layer() is None and not few.converged(99.0)
    with pytest.raises(EvaluationFailed, match="three"):
        few.predict(1e6)
    flat = traced([70.0] * 12)
    assert flat.trend() == PowerLaw(0.0, 0.5, 70.0) and flat.layer() == 0 and flat.converged(0.0)


@pytest.mark.parametrize("look_ahead", [0, 5])
def test_the_working_level_is_where_the_backbone_becomes_calm(monkeypatch, look_ahead):
    # Planted asymptotes: a jump of 1 point per step up to level 7, none after it. Allowed are 4e-5·5,000 = 0.2.
    planted = {level: 80.0 + min(level, 7) for level in range(3, 21)}

    def fit(self, level):
        return PowerLaw(1.0, 0.5, planted[level]) if level >= 3 else None

    monkeypatch.setattr(LearningTrace, "_fit", fit)
    trace = LearningTrace(look_ahead=look_ahead)
    for n, x in enumerate(X, 1):
        trace.add(float(x), 50.0)
        assert trace.working_level == (7 if n >= 7 + look_ahead + 1 else None)
    assert trace.prediction_level == 7


def test_the_prediction_level_waits_for_an_asymptote_below_a_hundred(monkeypatch):
    planted = {level: 100.5 - 0.1 * (level - 3) for level in range(3, 21)}
    monkeypatch.setattr(LearningTrace, "_fit", lambda self, n: PowerLaw(1.0, 0.5, planted[n]) if n >= 3 else None)
    trace = traced([50.0] * 20)
    assert (trace.working_level, trace.prediction_level) == (3, 8)  # 100.5 − 0.1·5 = 100


def test_anchors_hold_the_asymptote_when_one_observation_falls():
    distorted = EXACT.copy()
    distorted[14] -= 3
    moved = {}
    for anchoring in (True, False):
        alpha = traced(distorted, anchoring=anchoring).backbone
        moved[anchoring] = abs(alpha[14] - alpha[13])
    assert 0 < moved[True] < moved[False]


def test_shares_and_per_cents_are_the_same_curve():
    per_cent, share = traced(EXACT), traced(EXACT / 100, limit=1.0)
    assert share.working_level == per_cent.working_level
    assert share.predict(2e5) == pytest.approx(per_cent.predict(2e5) / 100)
    assert share.layer() == pytest.approx(per_cent.layer() / 100)


def test_predictions_stay_possible_and_several_families_are_averaged():
    steep = traced(120 - 4000 * X[:6] ** -0.5)  # 97 at 30,000, and on the way to 120
    assert steep.trend().asymptote > 100 and steep.predict(math.inf) == 100.0
    mixed = traced(EXACT, families=("power", "last"), anchoring=False)
    assert mixed.trend().asymptote == pytest.approx((97 + EXACT[-1]) / 2, abs=1e-3)
    assert traced([50.0, 60.0, 59.0, 61.0]).dips == 1


def test_wrong_observations_and_settings_are_refused():
    trace = traced([50.0])
    for x, y in ((5000.0, 60.0), (9000.0, 101.0), (9000.0, -1.0), (9000.0, math.nan), (math.nan, 60.0)):
        with pytest.raises(ValueError, match=r"increase|accuracy"):
            trace.add(x, y)
    assert len(trace) == 1
    for wrong in ({"nu": 1.0}, {"slowdown": 0.5}, {"look_ahead": -1}, {"families": ("log",)}, {"families": ()}):
        with pytest.raises(ValueError, match=r"trace needs|families"):
            LearningTrace(**wrong)


def curve(final, rate=30.0):
    return [(float(x), final - rate * x**-0.5) for x in range(1, 61)]


def test_a_hopeless_learner_is_stopped_and_a_good_one_is_not():
    stopper = CurveStopper(60, nu=0.05, look_ahead=2)
    assert stopper.watch("good", curve(90.0)) == curve(90.0)[-1][1]
    assert len(stopper.traces["good"]) == 60
    worth = stopper.watch("bad", curve(70.0))
    assert len(stopper.traces["bad"]) < 12
    assert worth == pytest.approx(curve(70.0)[-1][1], abs=0.1)  # predicted, for the curve is an exact power law
    stopper.watch("better", curve(95.0))
    assert len(stopper.traces["better"]) == 60


def test_a_margin_spares_the_nearly_as_good_and_tau_stops_the_finished():
    spared = CurveStopper(60, margin=30.0, best=86.0, nu=0.05, look_ahead=2)
    spared.watch("bad", curve(70.0))
    assert len(spared.traces["bad"]) == 60
    patient = CurveStopper(tau=5.0, nu=0.05, look_ahead=2)
    patient.watch("good", curve(90.0))
    assert len(patient.traces["good"]) == 36  # 30/√x ≤ 5 from x = 36
    with pytest.raises(EvaluationFailed, match="empty"):
        patient.watch("none", [])
    with pytest.raises(ValueError, match="margin"):
        CurveStopper(margin=-1.0)


def test_a_searcher_pays_for_fewer_epochs_and_finds_the_same():
    def cost_and_best(stopper):
        paid = 0

        def worth(x):
            nonlocal paid
            for size, y in curve(90.0 - 10 * abs(float(x[0]))):
                paid += 1
                if stopper is not None and stopper.report(x.tobytes(), size, y) == "stop":
                    break
            return y

        found = RandomSearch(Box(-2.0, 2.0, dim=1), 3).run(worth, 40, direction="maximize")
        return paid, float(found.best[0])

    full, best = cost_and_best(None)
    part, same = cost_and_best(CurveStopper(60, nu=0.05, look_ahead=2))
    assert full == 2400 and part < 800 and same == best


@dataclass(frozen=True)
class Grow(Operator):
    height: float
    bar: float

    def apply(self, parents, context):
        stopper, seen = CurveStopper(60, best=self.bar, nu=0.05, look_ahead=2), []
        for x, y in curve(60.0 + self.height):
            seen.append(y)
            if stopper.report("me", x, y) == "stop":
                break
        return Child({"curve": torch.tensor(seen)}, None, {"epochs": len(seen)})


@dataclass(frozen=True)
class Height(Probe):
    def measure(self, model, context):
        return {"height": float(model.weights()["curve"][-1])}


def test_a_lab_takes_the_bar_as_a_field(tmp_path):

    with Lab(tmp_path / "lab") as lab:
        found = Evolution(
            lab,
            RandomSearch(Box(0.0, 30.0, dim=1), 1),
            birth=lambda c: Request(Grow(float(c.value[0]), bar=70.0), seed=0),
            probe=Height(),
            metric="height",
            direction="maximize",
            evaluations=6,
        ).run()
        epochs = [lab[i].notes["epochs"] for i in found.births.values()]
    assert max(epochs) == 60 and min(epochs) < 20


def test_schedules_and_runners():
    assert growing_schedule(20, 5, 5) == [5, 10, 15, 20]
    data = list(range(10))
    runner = learning_curve_runner(sum, float, data, [2, 4])
    assert list(runner) == [(2, 1.0), (4, 6.0)]
    with pytest.raises(ValueError, match="does not fit"):
        list(learning_curve_runner(sum, float, data, [11]))
    with pytest.raises(ValueError, match="schedule"):
        growing_schedule(3, 5, 1)


def test_errors_of_predictions():
    assert mape([100, 50], [99, 51]) == pytest.approx(1.5)  # (1 % + 2 %) / 2
    with pytest.raises(ValueError, match="not 0"):
        mape([0.0], [1.0])


def test_reliability_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    finals, guess = rng.normal(size=8), rng.normal(size=8)
    assert ranking_reliability([1, 2, 3], [10, 20, 30]) == 1
    assert ranking_reliability([1, 2, 3], [3, 2, 1]) == 0
    assert ranking_reliability(finals, guess) == pytest.approx((1 + kendall(finals, guess)) / 2)
    assert ranking_reliability([1, 1, 2], [5, 9, 9]) == 0.75  # pairs (1, 2): one in order, one tied
    with pytest.raises(ValueError, match="no order"):
        ranking_reliability([1, 1], [1, 2])


def test_the_epoch_that_ranks_as_the_last():
    rng = np.random.default_rng(0)
    curves = rng.random((12, 6))
    curves[:, 2:] = np.sort(rng.random(12))[:, None] + np.arange(4)  # the order is final from epoch 3
    assert correlation_epoch(curves) == 3
    assert correlation_epoch(curves, method="kendall") == 3
    assert correlation_epoch(curves[:9]) == 6  # too few curves
    assert correlation_epoch(np.ones((12, 6))) == 6  # nothing to rank
    with pytest.raises(ValueError, match="cannot be reached"):
        correlation_epoch(curves, 1.01)
    with pytest.raises(ValueError, match="finite"):
        correlation_epoch(np.full((12, 3), np.nan))


def test_candidates_need_only_be_hashable():
    stopper = CurveStopper(10)
    assert stopper.report(Candidate(3, "x"), 1.0, 50.0) == "continue"
    assert stopper.report(Candidate(3, "x"), 10.0, 60.0) == "stop"  # it came to the end
