"""Trials of the claim on learning curves: names are read, taggers learn, curves are traced, and a forecast is judged.

Curves are births of (tagger, seed), shared by all arms; traces are births of a seed's eight curves. What a forecast may
see ends at `visible` observations; what comes after is the truth that it is compared with.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.lab import Context, Model, Operator, Parents, Probe, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds.name_tagging import divide, read_names
from heredity.papers.testbeds.taggers import TAGGERS, accuracies
from heredity.search.curve_families import FAMILIES, Curve, LastValue, PowerLaw, Vector
from heredity.search.learning_curves import LearningTrace, MeanCurve, growing_schedule, mape, ranking_reliability

FIXED = (8, 12, 20)  # observations, at steps of 1,000 names
SHARE = 0.1  # of the observations that a distortion lowers
LOWERED = (1.0, 3.0)  # points
Estimator = Literal["trend", "plain", "last", "best", "exponential", "ensemble"]
ENSEMBLE = ("power", "exponential", "mmf")


@dataclass(frozen=True)
class ReadNames(Operator):
    """Hashed features, tags and file numbers of the standard library's names.

    Args:
        count: how many at least.
        python: whose library, "CPython 3.11.7"; another one is another birth.
    """

    count: int
    python: str
    kind: ClassVar[str] = "import"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Read them.

        Raises:
            ValueError: this is another Python.
        """
        if self.python != running_python():
            raise ValueError(f"these are the names of {self.python}; this is {running_python()}")
        names = read_names(self.count)
        return {
            "features": torch.from_numpy(names.features).to(torch.int32),
            "tags": torch.from_numpy(names.tags).to(torch.uint8),
            "files": torch.from_numpy(names.files).to(torch.int32),
        }


@dataclass(frozen=True)
class TaggerCurve(Operator):
    """Accuracy `y` [L], in per cent, of a tagger after each size `x` [L]; the seed divides and orders the names.

    Args:
        tagger: a name in `heredity.papers.testbeds.taggers.TAGGERS`.
        step: names between the first `visible` sizes, and before the first.
        visible: how many such sizes.
        late_step, last: of the sizes after them.
        test: names in the fixed test set.
    """

    tagger: str
    step: int
    visible: int
    late_step: int
    last: int
    test: int
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Train and test, size after size."""
        held = {name: tensor.numpy().astype(np.int64) for name, tensor in parents[0].weights().items()}
        train, test = divide(held["files"], self.test, context.seed)
        early = growing_schedule(self.step * self.visible, self.step, self.step)
        sizes = [*early, *growing_schedule(self.last, early[-1] + self.late_step, self.late_step)]
        if sizes[-1] > len(train):
            raise ValueError(f"{len(train)} training names are left, {sizes[-1]} are wanted")
        rows = train[: sizes[-1]]
        features, tags = held["features"], held["tags"]
        found = accuracies(self.tagger, (features[rows], tags[rows]), (features[test], tags[test]), sizes)
        return {"x": torch.tensor(sizes, dtype=torch.float64), "y": torch.tensor(found, dtype=torch.float64)}


@dataclass(frozen=True)
class Traces(Operator):
    """Trends of the parents' curves, level by level, as if each observation had just come.

    The child holds, for K curves, V visible observations and T thresholds: `seen` [K, V], what was observed; `online`
    and `free` [K, V, 3], the power law known at each level, with anchors and without; `defined` [2, K, V];
    `backbone` [2, K, V], the asymptotes as they are known in the end; `level` [K], the prediction level; `stop` [K, T],
    the observation at which a threshold is first seen to be met. Levels count from 1, 0 stands for none.

    Args:
        visible: V.
        taus: thresholds in points.
        nu, slowdown, look_ahead: of `LearningTrace`.
        distorted: whether a tenth of each curve's visible observations is lowered by one to three points.
    """

    visible: int
    taus: tuple[float, ...]
    nu: float
    slowdown: float
    look_ahead: int
    distorted: bool
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Trace them all."""
        size = (len(parents), self.visible)
        seen, online, free = np.zeros(size), np.zeros((*size, 3)), np.zeros((*size, 3))
        defined, backbone = np.zeros((2, *size), dtype=bool), np.zeros((2, *size))
        level, stop = np.zeros(len(parents), dtype=np.int64), np.zeros((len(parents), len(self.taus)), dtype=np.int64)
        for k, parent in enumerate(parents):
            x, y = (parent.weights()[name].numpy() for name in ("x", "y"))
            seen[k] = self._observed(y[: self.visible], context.seed, k)
            for anchoring, known in ((True, online), (False, free)):
                trace = LearningTrace(self.nu, self.slowdown, self.look_ahead, anchoring=anchoring)
                for place in range(self.visible):
                    trace.add(float(x[place]), float(seen[k, place]))
                    trend = trace.trend()
                    if isinstance(trend, PowerLaw):
                        known[k, place] = trend.a, trend.b, trend.c
                        defined[0 if anchoring else 1, k, place] = True
                    if anchoring:
                        met = [trace.converged(tau) for tau in self.taus]
                        stop[k] = np.where((stop[k] == 0) & met, place + 1, stop[k])
                asymptotes = [0.0 if value is None else value for value in trace.backbone]
                backbone[0 if anchoring else 1, k] = asymptotes
                level[k] = trace.prediction_level or 0
        found = {"seen": seen, "online": online, "free": free, "backbone": backbone, "level": level, "stop": stop}
        return {name: torch.from_numpy(values) for name, values in found.items()} | {
            "defined": torch.from_numpy(defined)
        }

    def _observed(self, y: Vector, seed: int, curve: int) -> Vector:
        if not self.distorted:
            return y
        rng = np.random.default_rng([seed, curve])
        hit = rng.choice(len(y), size=round(SHARE * len(y)), replace=False)
        lowered = y.copy()
        lowered[hit] = np.maximum(lowered[hit] - rng.uniform(*LOWERED, size=len(hit)), 0.0)
        return lowered


@dataclass(frozen=True)
class Forecast(Operator):
    """What an estimator says of each curve: `predicted` [cuts, K, L] from the observations up to each of several cuts.

    Cuts are the stop of each threshold (all that is visible where it is not met), then `FIXED`. Parents: the traces,
    then the curves.

    Args:
        estimator: "trend" is the anchored power law, "plain" the one without anchors, each where it is undefined with
            an asymptote of at most 100; "best" the best value so far; "ensemble" the mean of three families.
        at: a number of observations instead of the stop of each threshold; 0 for the stop.
    """

    estimator: Estimator
    at: int = 0
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Predict."""
        traces = {name: tensor.numpy() for name, tensor in parents[0].weights().items()}
        x = parents[1].weights()["x"].numpy()
        stop, visible = traces["stop"], traces["seen"].shape[1]
        ends = np.full_like(stop, self.at) if self.at else np.where(stop > 0, stop, visible)
        cuts = np.concatenate([ends.T, np.tile(np.array(FIXED)[:, None], (1, len(stop)))])
        predicted = np.stack(
            [[np.clip(self._curve(traces, x, k, int(n)).values(x), 0, 100) for k, n in enumerate(cut)] for cut in cuts]
        )
        return {
            "x": torch.from_numpy(x),
            "y": torch.stack([parent.weights()["y"] for parent in parents[1:]]),
            "predicted": torch.from_numpy(predicted),
            "cuts": torch.from_numpy(cuts),
            "stopped": torch.from_numpy(stop > 0),
            "wobble": torch.from_numpy(self._wobble(traces)),
            "seen": parents[0].weights()["seen"],
        }

    def _curve(self, traces: Mapping[str, Vector], x: Vector, k: int, n: int) -> Curve:
        """The curve that this estimator draws through the first n observations of curve k."""
        sizes, seen = x[:n], traces["seen"][k, :n]
        if self.estimator in ("trend", "plain"):
            which = 0 if self.estimator == "trend" else 1
            if traces["defined"][which, k, n - 1]:
                a, b, c = traces["free" if which else "online"][k, n - 1]
                return PowerLaw(float(a), float(b), float(c))
            return _fitted(("power",), sizes, seen)
        if self.estimator == "best":
            return LastValue(float(seen.max()))
        if self.estimator == "last":
            return LastValue(float(seen[-1]))
        return _fitted(("exponential",) if self.estimator == "exponential" else ENSEMBLE, sizes, seen)

    def _wobble(self, traces: Mapping[str, Vector]) -> Vector:
        """Mean |α_{i+1} − α_i| after ℘ of each curve that reached it; empty for estimators without a backbone."""
        if self.estimator not in ("trend", "plain"):
            return np.zeros(0)
        which = 0 if self.estimator == "trend" else 1
        found = []
        for k, level in enumerate(traces["level"]):
            after = slice(int(level) - 1, None)
            kept = traces["backbone"][which, k, after][traces["defined"][which, k, after]]
            if level > 0 and len(kept) > 1:
                found.append(float(np.abs(np.diff(kept)).mean()))
        return np.array(found)


@dataclass(frozen=True)
class ForecastQuality(Probe):
    """How far a forecast was off; what no curve of the seed defines is left out.

    Args:
        taus: the thresholds that the forecast's first cuts stand for; main: the place of the one that decides.
    """

    taus: tuple[float, ...]
    main: int = 1

    def measure(self, model: Model, context: Context) -> dict[str, float]:
        """All values of the card."""
        held = {name: tensor.numpy() for name, tensor in model.weights().items()}
        y, predicted, cuts, stopped = held["y"], held["predicted"], held["cuts"], held["stopped"]
        error = np.abs(predicted[:, :, -1] - y[:, -1])  # [cuts, K], at the largest size
        main = stopped[:, self.main]
        rest = [mape(y[k, n:], predicted[self.main, k, n:]) for k, n in enumerate(cuts[self.main])]
        values = {
            "stopped": float(main.mean()),
            "error_all": float(error[self.main].mean()),
            "mape": float(np.mean(rest)),
            "reliability": ranking_reliability(y[:, -1], predicted[self.main, :, -1]),
            "dips": float((np.diff(held["seen"], axis=1) < 0).sum(1).mean()),
        }
        for place, tau in enumerate(self.taus):
            if place != self.main:
                values[f"error_tau{tau:g}"] = float(error[place].mean())
                values[f"stopped_tau{tau:g}"] = float(stopped[:, place].mean())
        for place, n in enumerate(FIXED, len(self.taus)):
            values[f"error_{n}k"] = float(error[place].mean())
        if main.any():
            values["error"] = float(error[self.main][main].mean())
            values["stop"] = float(held["x"][cuts[self.main][main] - 1].mean())
            values["within_1"] = float((error[self.main][main] <= 1).mean())
        if len(held["wobble"]):
            values["wobble"] = float(held["wobble"].mean())
        return values


def trial(cell: Cell) -> Steps:
    """One forecast of a seed's eight curves, clean or distorted."""
    (names,) = yield [Request(ReadNames(cell.setting("names"), running_python()))]
    sizes = {name: cell.setting(name) for name in ("step", "visible", "late_step", "last", "test")}
    curves = yield [Request(TaggerCurve(tagger, **sizes), (names,), seed=cell.seed) for tagger in TAGGERS]
    taus = tuple(cell.setting("taus"))
    levels = {name: cell.setting(name) for name in ("nu", "slowdown", "look_ahead")}
    tracing = Traces(cell.setting("visible"), taus, distorted=cell.world == "distorted", **levels)
    (traces,) = yield [Request(tracing, curves, seed=cell.seed)]
    forecast = Forecast(cell.setting("estimator"), int(cell.settings.get("at", 0)))  # type: ignore[arg-type]
    return Trial(Request(forecast, (traces, *curves), seed=cell.seed), (ForecastQuality(taus),))


def running_python() -> str:
    """The Python whose library is read."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def _fitted(families: tuple[str, ...], x: Vector, y: Vector) -> Curve:
    """The mean of the families that fit with an asymptote of at most 100; the last value where none does."""
    found: list[Curve] = []
    for family in families:
        try:
            found.append(FAMILIES[family].fit(x, y, limit=100.0))
        except EvaluationFailed:
            continue
    return MeanCurve(found) if found else LastValue(float(y[-1]))
