"""Learning curves seen from their beginning: how good a learner will be, how much is left to gain, when to stop it.

A learner is trained on growing sets of x_1 < x_2 < … examples and tested on one fixed set. The accuracy pattern, a
power law, is fitted to the first ℓ observations: the learning trend A_ℓ, with the asymptote α_ℓ. Levels, counted by
observations, say how far to trust it:

* working level ω: the first i with |α_{j+1} − α_j| / (x_{j+1} − x_j) ≤ ν^(1/ς) / (1 − ν) for all j from i to i + λ;
* prediction level ℘: the first i ≥ ω with α_i ≤ 100;
* convergence level for τ: the first i ≥ ℘ whose layer χ_i = |α_i − A_i(x_i)|, what is left to gain, is at most τ.

After ℘ each trend is anchored: one more observation at infinity says the asymptote before it.
Source: arXiv 2402.02515. Its text could be read only in part: the constants, the second half of ℘ (trends that fall
from there on) and the weight of the anchor are as its authors' later papers are remembered, and may differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from heredity.errors import EvaluationFailed
from heredity.evaluation.ranking import kendall, spearman
from heredity.search.curve_families import FAMILIES, Curve, Values, Vector
from heredity.search.curve_families import PowerLaw as PowerLaw  # noqa: PLC0414 - one import for users

M = TypeVar("M")
LEAST_CURVES = 10  # fewer give no stable rank correlation
LEAST_LEVEL = 3  # observations that a trend needs


class MeanCurve(Curve):
    """The mean of several curves."""

    def __init__(self, members: Sequence[Curve]) -> None:
        self.members = tuple(members)

    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n]."""
        return np.asarray(np.mean([member.values(x) for member in self.members], 0))

    @property
    def asymptote(self) -> float:
        """The mean of theirs."""
        return float(np.mean([member.asymptote for member in self.members]))

    @classmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """A mean has no parameters of its own."""
        raise TypeError("a mean of curves is not fitted; its members are")

    @classmethod
    def scaled(cls, parameters: Vector, first: float) -> MeanCurve:
        """A mean has no parameters of its own."""
        raise TypeError("a mean of curves is not fitted; its members are")


class LearningTrace:
    """The trends of one learner, observation by observation.

    Args:
        nu: verticality threshold ν in (0, 1), in per cent of accuracy per unit of x. The paper's 4e-5 allows 0.2
            points per step of 5,000 words: with other units of x, choose what you allow per step, divided by the step.
        slowdown: ς ≥ 1.
        look_ahead: λ, levels after one that must be as calm; a working level is known λ + 1 observations later.
        anchoring: whether trends after the prediction level are anchored.
        limit: the value of perfect accuracy, 100 for per cent, 1 for shares.
        families: names in `heredity.search.curve_families.FAMILIES`; the trend of several is the mean of those that
            can be fitted. All must have an asymptote.

    Raises:
        ValueError: a setting outside of what is said above.
    """

    def __init__(
        self,
        nu: float = 4e-5,
        slowdown: float = 1.0,
        look_ahead: int = 5,
        *,
        anchoring: bool = True,
        limit: float = 100.0,
        families: Sequence[str] = ("power",),
    ) -> None:
        if not 0 < nu < 1 or slowdown < 1 or look_ahead < 0 or not (0 < limit < math.inf):
            raise ValueError(
                f"a trace needs 0 < nu < 1, slowdown ≥ 1, look_ahead ≥ 0 and a positive limit, got {nu}, {slowdown}, "
                f"{look_ahead} and {limit}"
            )
        unknown = [name for name in families if name not in FAMILIES or name == "log"]
        if unknown or not families:
            known = ", ".join(name for name in FAMILIES if name != "log")
            raise ValueError(f"families must name curves with an asymptote ({known}), got {tuple(families)}")
        self.nu, self.slowdown, self.look_ahead = nu, slowdown, look_ahead
        self.anchoring, self.limit, self.families = anchoring, limit, tuple(families)
        self.x: list[float] = []
        self.y: list[float] = []  # per cent
        self._trends: list[Curve | None] = []
        self.working_level: int | None = None
        self.prediction_level: int | None = None

    def __len__(self) -> int:
        return len(self.x)

    def add(self, x: float, y: float) -> None:
        """The next observation: trained on x examples, accuracy y.

        Raises:
            ValueError: x does not increase, or y lies outside 0 … limit or is NaN.
        """
        if not (math.isfinite(x) and x > (self.x[-1] if self.x else 0)):
            raise ValueError(f"sizes must be positive and increase; {x} follows {self.x[-1] if self.x else 0}")
        if not 0 <= y <= self.limit:
            raise ValueError(f"accuracy should lie in 0 … {self.limit}, at {x} it is {y}")
        self.x.append(float(x))
        self.y.append(100.0 * y / self.limit)
        known = self.prediction_level
        self._trends.append(self._fit(len(self.x)))
        if known is None:
            self._find_levels()
            if self.prediction_level is not None and self.anchoring:
                for level in range(self.prediction_level + 1, len(self.x) + 1):  # one after the other: each anchors
                    self._trends[level - 1] = self._fit(level)

    def trend(self, level: int = -1) -> Curve | None:
        """The trend of the first `level` observations, in per cent; −1 the latest. None where there is none."""
        if not self._trends or not (level == -1 or 1 <= level <= len(self.x)):
            return None
        return self._trends[level - 1 if level > 0 else -1]

    @property
    def backbone(self) -> tuple[float | None, ...]:
        """The asymptotes of all levels from 1, in per cent; None where there is no trend."""
        return tuple(None if trend is None else trend.asymptote for trend in self._trends)

    @property
    def dips(self) -> int:
        """How often accuracy fell: the theory wants curves that never do."""
        return sum(b < a for a, b in zip(self.y, self.y[1:], strict=False))

    def layer(self, level: int = -1) -> float | None:
        """χ of a level: accuracy still to be gained if its trend is right, in the units of y."""
        trend, x = self.trend(level), self.x[level - 1 if level > 0 else -1] if self.x else 0.0
        return None if trend is None else abs(trend.asymptote - trend(x)) * self.limit / 100

    def convergence_level(self, tau: float, by: Literal["layer", "trace"] = "layer") -> int | None:
        """The first level from ℘ on at which little is left to gain; None when there is none yet.

        Args:
            tau: threshold in the units of y.
            by: "layer" looks at χ; "trace" at how much the asymptote moved since the level before.
        """
        if by not in ("layer", "trace"):
            raise ValueError(f'by must be "layer" or "trace", got {by!r}')
        if self.prediction_level is None:
            return None
        backbone = self.backbone
        for level in range(self.prediction_level, len(self.x) + 1):
            left = self.layer(level)
            if by == "trace":
                now, before = backbone[level - 1], backbone[level - 2]
                left = None if now is None or before is None else abs(now - before) * self.limit / 100
            if left is not None and left <= tau:
                return level
        return None

    def converged(self, tau: float, by: Literal["layer", "trace"] = "layer") -> bool:
        """Whether `convergence_level` is reached."""
        return self.convergence_level(tau, by) is not None

    def predict(self, x: float) -> float:
        """Accuracy at x, infinity allowed, by the latest trend; never outside 0 … limit.

        Raises:
            EvaluationFailed: there is no trend.
        """
        trend = self.trend()
        if trend is None:
            raise EvaluationFailed(
                f"{len(self.x)} observations have no trend; it takes three, and a fit that converges"
            )
        return min(max(trend(x), 0.0), 100.0) * self.limit / 100

    def _fit(self, level: int) -> Curve | None:
        if level < LEAST_LEVEL:
            return None
        anchor = None
        if self.anchoring and self.prediction_level is not None and level > self.prediction_level:
            earlier = [trend.asymptote for trend in self._trends[: level - 1] if trend is not None]
            anchor = min(earlier[-1], 100.0)
        found: list[Curve] = []
        for family in self.families:
            try:
                found.append(FAMILIES[family].fit(self.x[:level], self.y[:level], anchor=anchor))
            except EvaluationFailed:
                continue  # the level is undefined in this family
        if not found:
            return None
        return found[0] if len(found) == 1 else MeanCurve(found)

    def _find_levels(self) -> None:
        backbone, n = self.backbone, len(self.x)
        bound = self.nu ** (1 / self.slowdown) / (1 - self.nu)

        def calm(j: int) -> bool:
            now, then = backbone[j - 1], backbone[j]
            return now is not None and then is not None and abs(then - now) <= bound * (self.x[j] - self.x[j - 1])

        if self.working_level is None:
            for i in range(LEAST_LEVEL, n - self.look_ahead):
                if all(calm(j) for j in range(i, i + self.look_ahead + 1)):
                    self.working_level = i
                    break
        if self.working_level is not None:
            for i in range(self.working_level, n + 1):
                asymptote = backbone[i - 1]
                if asymptote is not None and asymptote <= 100:
                    self.prediction_level = i
                    break


class CurveStopper:
    """Stops learners that cannot win any more, beside any searcher: tell it every accuracy, obey its answer.

    A learner is stopped when its prediction level is passed and the accuracy predicted for it is less than the best one
    measured so far by more than a margin. `watch` does it for a curve that is a generator. In a lab, where a birth must
    depend on its fields alone, give the operator the bar that it has to reach as a field and make
    `CurveStopper(best=self.bar)` inside.

    Args:
        total: the size at which learners are compared; default infinity.
        margin: how far below the best a prediction may lie, in the units of accuracy.
        tau: also stop what has less than this to gain; default never.
        best: accuracy that is known to be reachable beforehand.
        settings: of `LearningTrace`.
    """

    def __init__(
        self,
        total: float = math.inf,
        margin: float = 0.0,
        *,
        tau: float | None = None,
        best: float | None = None,
        **settings: Any,
    ) -> None:
        if margin < 0 or total <= 0:
            raise ValueError(f"margin must not be negative and total be positive, got {margin} and {total}")
        self.total, self.margin, self.tau, self.best, self.settings = total, margin, tau, best, settings
        LearningTrace(**settings)  # wrong settings are named now
        self.traces: dict[Hashable, LearningTrace] = {}

    def report(self, candidate: Hashable, x: float, y: float) -> Literal["continue", "stop"]:
        """A learner's accuracy y after x examples (or epochs): whether to train it on."""
        trace = self.traces.setdefault(candidate, LearningTrace(**self.settings))
        trace.add(x, y)
        self.best = y if self.best is None else max(self.best, y)
        if x >= self.total:
            return "stop"
        if trace.prediction_level is None or trace.trend() is None:
            return "continue"
        if self.tau is not None and trace.converged(self.tau):
            return "stop"
        return "stop" if trace.predict(self.total) < self.best - self.margin else "continue"

    def watch(self, candidate: Hashable, curve: Iterable[tuple[float, float]]) -> float:
        """Take a curve of (x, y) until it ends or is stopped; what it is worth at `total`.

        That is the last accuracy where the curve ended or came to `total`, and the predicted one where it was stopped.

        Raises:
            EvaluationFailed: the curve is empty.
        """
        y = None
        for x, y in curve:
            if self.report(candidate, x, y) == "stop":
                return y if x >= self.total else self.traces[candidate].predict(self.total)
        if y is None:
            raise EvaluationFailed(f"the curve of candidate {candidate!r} is empty")
        return y


def growing_schedule(n: int, kernel: int, step: int) -> list[int]:
    """Sizes kernel, kernel + step, … up to n.

    Raises:
        ValueError: a number is not positive, or the kernel is larger than n.

    >>> growing_schedule(12, 4, 3)
    [4, 7, 10]
    """
    if min(kernel, step) < 1 or kernel > n:
        raise ValueError(f"a schedule needs 1 ≤ kernel ≤ n and step ≥ 1, got n={n}, kernel={kernel}, step={step}")
    return list(range(kernel, n + 1, step))


def learning_curve_runner(
    fit: Callable[[Sequence[Any]], M], score: Callable[[M], float], data: Sequence[Any], schedule: Iterable[int]
) -> Iterator[tuple[int, float]]:
    """(size, accuracy) of a learner trained anew on the first `size` of the data; stop asking to stop training.

    Raises:
        ValueError: a size is larger than the data.
    """
    for size in schedule:
        if not 0 < size <= len(data):
            raise ValueError(f"a size of {size} does not fit {len(data)} examples")
        yield size, float(score(fit(data[:size])))


def mape(y: Values, yhat: Values) -> float:
    """Mean absolute percentage error of predictions ŷ [n] of values y [n] that are not 0, in per cent.

    >>> mape([100, 50], [99, 51])
    1.5
    """
    truth, guess = np.asarray(y, dtype=np.float64), np.asarray(yhat, dtype=np.float64)
    if truth.shape != guess.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(f"two vectors of one length are needed, got shapes {truth.shape} and {guess.shape}")
    if (truth == 0).any() or not (np.isfinite(truth).all() and np.isfinite(guess).all()):
        raise ValueError("a percentage error needs finite values, and true ones that are not 0")
    return float(100 * np.mean(np.abs(truth - guess) / np.abs(truth)))


def ranking_reliability(finals: Values, predicted: Values) -> float:
    """Share of all pairs of learners that predictions order as their real final accuracies do, in [0, 1].

    Pairs whose finals are equal are left out; a pair that is predicted equal counts a half.

    Raises:
        ValueError: lengths differ, fewer than two learners, a value is not finite, or all finals are equal.
    """
    kendall(finals, predicted)  # checks both
    truth, guess = np.asarray(finals, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    rows, columns = np.triu_indices(len(truth), 1)
    real, said = np.sign(truth[rows] - truth[columns]), np.sign(guess[rows] - guess[columns])
    if not real.any():
        raise ValueError("all final accuracies are equal: there is no order to predict")
    return float(np.mean((1 + real * said)[real != 0] / 2))


def correlation_epoch(
    curves: ArrayLike, threshold: float = 0.92, method: Literal["spearman", "kendall"] = "spearman"
) -> int:
    """The first epoch, counted from 1, after which learners are ranked nearly as at the end: how long to train them.

    Args:
        curves: accuracies [n, E] of n learners after each epoch. Fewer than ten give no stable correlation: E is
            returned.
        threshold: of the rank correlation with the last epoch; accuracies that do not vary correlate 0.

    Raises:
        ValueError: the threshold is above 1, or curves are not finite numbers [n, E].

    Source: arXiv 2006.02049, section 3.2, with its threshold.
    """
    values = np.asarray(curves, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"curves must be finite numbers [n, epochs], got shape {values.shape}")
    if not threshold <= 1 or method not in ("spearman", "kendall"):
        raise ValueError(
            f'a correlation of {threshold} by {method!r} cannot be reached; use ≤ 1, "spearman", "kendall"'
        )
    correlation = spearman if method == "spearman" else kendall
    epochs = int(values.shape[1])
    if len(values) < LEAST_CURVES:
        return epochs
    for epoch in range(1, epochs):
        if correlation(values[:, epoch - 1], values[:, -1], constant=0.0) >= threshold - 1e-12:
            return epoch
    return epochs
