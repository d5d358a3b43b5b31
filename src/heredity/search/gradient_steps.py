"""Steps along estimated gradients, uphill: Adam, ClipUp and plain gradient ascent.

Written with operators that numpy's arrays and torch's tensors share, so that one search and a batch of searches
[runs, dim] take the same steps. The gradient's last axis is the coordinates.
Source: Adam: Kingma & Ba, arXiv 1412.6980, algorithm 1 in the form at the end of section 2; ClipUp: Toklu, Liskowski &
Srivastava, arXiv 2008.02387, algorithm 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

StepName: TypeAlias = Literal["adam", "clipup", "sgd"]
Rows: TypeAlias = Any  # a numpy array or a torch tensor [..., dim]


class GradientStep(ABC):
    """Turns gradients into steps and remembers what it needs for that.

    Args:
        zeros: an array or tensor of zeros in the shape of the gradient.
    """

    def __init__(self, zeros: Rows) -> None:
        self.moments: list[Rows] = [zeros + 0 for _ in range(self.memories)]

    memories: ClassVar[int] = 0

    @abstractmethod
    def step(self, gradient: Rows, lr: Any, norm: Callable[[Rows], Rows]) -> Rows:
        """What to add to the point.

        Args:
            gradient: [..., dim].
            lr: step size; a number or [..., 1].
            norm: length along the last axis, which is kept: [..., dim] → [..., 1].
        """

    def state(self, copy: Callable[[Rows], Any]) -> list[Any]:
        """Copies of the moments."""
        return [copy(moment) for moment in self.moments]

    def load(self, state: list[Any], read: Callable[[Any], Rows]) -> None:
        """Continue from `state`."""
        self.moments = [read(moment) for moment in state]


class Ascent(GradientStep):
    """lr · gradient."""

    def step(self, gradient: Rows, lr: Any, norm: Callable[[Rows], Rows]) -> Rows:
        """See `GradientStep.step`."""
        return gradient * lr


class Adam(GradientStep):
    """Adam with β = (0.9, 0.999), ε = 10⁻⁸ unless told otherwise."""

    memories: ClassVar[int] = 2

    def __init__(self, zeros: Rows, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(zeros)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.moments += [zeros[..., :1] + 1, zeros[..., :1] + 1]  # powers of the betas, which correct the bias

    def step(self, gradient: Rows, lr: Any, norm: Callable[[Rows], Rows]) -> Rows:
        """See `GradientStep.step`."""
        mean, square, power1, power2 = self.moments
        mean *= self.beta1
        mean += gradient * (1 - self.beta1)
        square *= self.beta2
        square += gradient * gradient * (1 - self.beta2)
        power1 *= self.beta1
        power2 *= self.beta2
        return mean * (lr * (1 - power2) ** 0.5 / (1 - power1)) / (square**0.5 + self.eps)


class ClipUp(GradientStep):
    """Momentum over gradients of length one, the velocity clipped: `lr` is the length of a step from rest.

    Args:
        speed_limit: largest length of a step, in step sizes; the paper advises 2.
        momentum: share of the velocity that is kept.
    """

    memories: ClassVar[int] = 1

    def __init__(self, zeros: Rows, speed_limit: float = 2.0, momentum: float = 0.9) -> None:
        super().__init__(zeros)
        self.speed_limit, self.momentum = speed_limit, momentum

    def step(self, gradient: Rows, lr: Any, norm: Callable[[Rows], Rows]) -> Rows:
        """See `GradientStep.step`."""
        (velocity,) = self.moments
        length = norm(gradient)
        velocity *= self.momentum
        velocity += gradient * (lr / (length + (length == 0)))  # a gradient of zero gives no direction
        speed, limit = norm(velocity), lr * self.speed_limit
        over = speed > limit
        velocity *= over * (limit / (speed + (speed == 0))) + (over == 0)
        return velocity + 0


def gradient_step(name: StepName, zeros: Rows, options: Mapping[str, Any] | None = None) -> GradientStep:
    """The step of a name: "adam", "clipup" or "sgd", with the options of its class.

    Raises:
        ValueError: no such step.
    """
    kinds: dict[str, type[GradientStep]] = {"adam": Adam, "clipup": ClipUp, "sgd": Ascent}
    if name not in kinds:
        raise ValueError(f"step must be one of {', '.join(kinds)}, got {name!r}")
    return kinds[name](zeros, **(options or {}))
