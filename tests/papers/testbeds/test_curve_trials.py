from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch

from heredity.papers.testbeds.curve_trials import FIXED, Forecast, ForecastQuality, Traces

TAUS = (12.0, 8.0, 4.0)
X = np.array([*range(1000, 40_001, 1000), *range(60_000, 200_001, 20_000)], dtype=np.float64)
CURVES = [95 - 400 * X**-0.6, 80 - 300 * X**-0.5, 100 - 80 * X**-0.05]  # the last has far to go
TRACES = Traces(40, TAUS, 2e-4, 1.0, 5, False)


@dataclass
class Held:
    """What a trial reads of a model."""

    tensors: dict

    def weights(self):
        return self.tensors


@dataclass
class Seeded:
    seed: int = 3


def curves():
    return [Held({"x": torch.from_numpy(X), "y": torch.from_numpy(y)}) for y in CURVES]


@cache
def traced(tracing):
    return tracing.apply(curves(), Seeded())


def forecast(estimator, at=0, tracing=TRACES):
    traces = Held(traced(tracing))
    return Held(Forecast(estimator, at).apply([traces, *curves()], Seeded()))


def test_exact_power_laws_stop_when_the_layer_is_small_enough_and_are_known_then():
    found = traced(TRACES)
    assert (found["defined"][:, :2, 2:]).all() and not found["defined"][:, :, :2].any()
    # λ = 5 confirms level 3 with observation 9; 300/√x ≤ 4 from x = 5,625, so that all thresholds are met at once.
    assert found["stop"][1].tolist() == [9, 9, 9] and found["level"][1] == 3
    quality = ForecastQuality(TAUS).measure(forecast("trend"), Seeded())
    assert quality["stopped"] == pytest.approx(2 / 3)
    assert quality["error"] < 0.01 and quality["stop"] == 9000 and quality["within_1"] == 1
    assert quality["mape"] < 0.5 and quality["reliability"] == 1 and quality["dips"] == 0


def test_the_last_value_is_off_by_what_was_still_gained():
    quality = ForecastQuality(TAUS).measure(forecast("last"), Seeded())
    gained = [abs(curve[-1] - curve[8]) for curve in CURVES[:2]]
    assert quality["error"] == pytest.approx(np.mean(gained)) and "wobble" not in quality
    fixed = [abs(curve[-1] - curve[FIXED[0] - 1]) for curve in CURVES]
    assert quality["error_8k"] == pytest.approx(np.mean(fixed))


def test_a_fixed_size_looks_at_the_same_runs():
    early, late = (ForecastQuality(TAUS).measure(forecast("last", at), Seeded()) for at in (5, 30))
    assert early["stopped"] == late["stopped"] and early["error"] > late["error"]


@pytest.mark.parametrize("estimator", ["plain", "best", "exponential", "ensemble"])
def test_every_estimator_predicts_something_possible(estimator):
    predicted = forecast(estimator).weights()["predicted"]
    assert predicted.shape == (len(TAUS) + len(FIXED), 3, len(X))
    assert (predicted >= 0).all() and (predicted <= 100).all()


def test_a_distortion_lowers_a_tenth_of_what_is_seen_and_none_of_the_truth():
    distorted = Traces(40, TAUS, 2e-4, 1.0, 5, True)
    seen = traced(distorted)["seen"].numpy()
    lowered = np.stack(CURVES)[:, :40] - seen
    assert ((lowered > 0).sum(1) == 4).all()
    assert lowered[lowered > 0].min() >= 1 and lowered.max() <= 3
    truth = forecast("last", tracing=distorted).weights()["y"].numpy()
    assert (truth == np.stack(CURVES)).all()
    assert (distorted.apply(curves(), Seeded(4))["seen"].numpy() != seen).any()
