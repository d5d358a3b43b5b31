"""Image shifts of known kind and strength: noise, blur, light, geometry, occlusion.

Every kind is a function (x, strength, generator) -> x of a batch [B, C, H, W] in [0, 1]. Strength 0 is the identity
and a larger magnitude is a stronger shift; the unit is the kind's own. `corrupt` speaks in severities 1..5, `Shift`
in exact strengths.
Source: the corruption families of arXiv 1903.12261, made for images of a few pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Kind = Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class Shift:
    """One shift of exact strength; a tuple of them is applied in order.

    Args:
        kind: a key of `KINDS`.
        strength: in the unit of the kind's function, e.g. degrees for "rotate".
    """

    kind: str
    strength: float

    def __post_init__(self) -> None:
        _kind(self.kind)
        if not math.isfinite(self.strength):
            raise ValueError(f"strength of {self.kind!r} must be finite, got {self.strength}")

    def __call__(self, x: Tensor, seed: int = 0) -> Tensor:
        """Shift a batch [B, C, H, W] in [0, 1]; the result is clipped to [0, 1]."""
        return apply_shifts(x, (self,), seed)


def apply_shifts(x: Tensor, shifts: Sequence[Shift], seed: int = 0) -> Tensor:
    """Apply shifts in order. Each draws from a generator of its own, seeded by `seed`, its kind and its place.

    Args:
        x: [B, C, H, W] in [0, 1].
        shifts: may be empty.
        seed: decides noise and positions.

    Returns:
        A new tensor of the same shape in [0, 1].

    Raises:
        ValueError: `x` is not such a batch.
    """
    if x.dim() != 4:
        raise ValueError(f"images must have shape [B, C, H, W], got {tuple(x.shape)}")
    if x.numel() and not (float(x.min()) >= 0 and float(x.max()) <= 1):
        raise ValueError(f"images must lie in [0, 1], got [{float(x.min()):g}, {float(x.max()):g}]")
    x = x.clone()
    for place, shift in enumerate(shifts):
        digest = hashlib.sha256(f"{seed}\x1f{shift.kind}\x1f{place}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        x = _kind(shift.kind)(x, shift.strength, generator).clamp(0, 1)
    return x


def corrupt(x: Tensor, kind: str, severity: int, seed: int = 0) -> Tensor:
    """Shift a batch [B, C, H, W] in [0, 1] by a severity of 1 (weak) to 5 (strong).

    Raises:
        ValueError: unknown kind or severity.
    """
    return apply_shifts(x, (shift_of(kind, severity),), seed)


def shift_of(kind: str, severity: int) -> Shift:
    """The exact shift behind a severity."""
    _kind(kind)
    if severity not in {1, 2, 3, 4, 5}:
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity}")
    return Shift(kind, SEVERITIES[kind][severity - 1])


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ValueError(f"unknown shift {name!r}; known are {', '.join(sorted(KINDS))}")
    return KINDS[name]


# Noise


def gaussian(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Add N(0, strength²) to every pixel."""
    return x + strength * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def shot(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Poisson counts of photons that are worth `strength` each, so that full light is 1/strength photons."""
    return torch.poisson(x / strength, generator=generator) * strength if strength else x


def impulse(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turn a share `strength` of the pixels black or white, half each."""
    u = torch.rand(x.shape, generator=generator, dtype=x.dtype)
    return torch.where(u < strength / 2, 0.0, torch.where(u > 1 - strength / 2, 1.0, x))


# Blur


def box_blur(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mean over a square that reaches `strength` pixels beyond the pixel's own on every side."""
    return _blur_columns(_blur_columns(x, strength).mT, strength).mT


def motion_blur(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mean over a row that reaches `strength` pixels beyond the pixel's own to both sides."""
    return _blur_columns(x, strength)


def _blur_columns(x: Tensor, reach: float) -> Tensor:
    width = x.shape[-1]
    columns = torch.arange(width, dtype=x.dtype)
    distance = (columns[:, None] - columns[None, :]).abs()
    window = (reach + 1 - distance).clamp(0, 1)  # a pixel that the window covers in part counts in part
    window[distance == 0] = 1
    # Outside the image is black, as the digits' border is.
    return x @ (window / (2 * reach + 1)) if reach else x


# Light


def contrast(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Move every pixel by a share `strength` (0..1) towards its image's mean."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (1 - strength) * (x - mean)


def brightness(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Add `strength` to every pixel."""
    return x + strength


def darken(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Take away a share `strength` (0..1) of the light."""
    return x * (1 - strength)


def fog(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Replace a share `strength` (0..1) of the light by a veil of grey 2/3: 0.6 gives 0.4 + 0.4 x."""
    return x * (1 - strength) + strength * (2 / 3)


def invert(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mix with the negative: 1 is the negative, 1/2 is uniform grey."""
    return x * (1 - strength) + strength * (1 - x)


# What is hidden or worn


def stripes(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mix every fourth row with white; `strength` (0..1) is the share of white."""
    striped = torch.arange(x.shape[-2]) % 4 == 3
    return torch.where(striped[:, None], x + strength * (1 - x), x)


def occlusion(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A black band across each image; `strength` is its share of the height, its position is random per image."""
    height = x.shape[-2]
    band = min(height, round(strength * height))
    u = torch.rand((len(x), 1, 1, 1), generator=generator, dtype=x.dtype)
    top = torch.floor(u * (height - band + 1))
    row = torch.arange(height, dtype=x.dtype).view(1, 1, height, 1)
    return torch.where((row >= top) & (row < top + band), torch.zeros((), dtype=x.dtype), x)


def thin(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Move every pixel by a share `strength` (0..1) to the darkest of itself and its four neighbours."""
    padded = functional.pad(x, (1, 1, 1, 1))
    up, down = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    eroded = torch.stack([x, up, down, left, right]).amin(0)
    return x + strength * (eroded - x)


# Geometry: bilinear, black outside


def rotate(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turn counter-clockwise by `strength` degrees."""
    turn = math.radians(strength)
    return _affine(x, [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0]])


def rotate90(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turn counter-clockwise by `strength` quarter turns, a whole number; exact."""
    if strength != round(strength):
        raise ValueError(f"rotate90 needs a whole number of quarter turns, got {strength}")
    if round(strength) % 2 and x.shape[-1] != x.shape[-2]:
        raise ValueError(f"rotate90 needs square images, got {tuple(x.shape[-2:])}")
    return torch.rot90(x, round(strength), dims=(-2, -1))


def shift(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Move to the left by `strength` half image widths; a negative value moves to the right."""
    return _affine(x, [[1.0, 0.0, strength], [0.0, 1.0, 0.0]])


def shear(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Slant: each row moves horizontally by `strength` times its distance from the middle row."""
    return _affine(x, [[1.0, strength, 0.0], [0.0, 1.0, 0.0]])


def _affine(x: Tensor, matrix: list[list[float]]) -> Tensor:
    theta = torch.tensor(matrix, dtype=x.dtype).expand(len(x), 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


KINDS: dict[str, Kind] = {
    function.__name__: function
    for function in (
        *(gaussian, shot, impulse, box_blur, motion_blur, contrast, brightness, darken, fog),
        *(stripes, occlusion, invert, rotate, rotate90, shift, shear, thin),
    )
}

# rotate90 has no degrees: all its severities are one quarter turn.
SEVERITIES: dict[str, tuple[float, float, float, float, float]] = {
    "gaussian": (0.08, 0.15, 0.22, 0.28, 0.35),
    "shot": (1 / 60, 1 / 25, 1 / 12, 1 / 8, 1 / 6),
    "impulse": (0.03, 0.06, 0.1, 0.13, 0.16),
    "box_blur": (0.25, 0.5, 1.0, 2.0, 3.0),
    "motion_blur": (0.5, 1.0, 2.0, 3.5, 5.0),
    "contrast": (0.3, 0.5, 0.65, 0.75, 0.85),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.55),
    "darken": (0.3, 0.5, 0.65, 0.75, 0.85),
    "fog": (0.2, 0.35, 0.5, 0.6, 0.75),
    "stripes": (0.2, 0.4, 0.6, 0.8, 1.0),
    "occlusion": (0.125, 0.25, 0.375, 0.5, 0.625),
    "invert": (0.2, 0.4, 0.6, 0.8, 1.0),
    "rotate": (10.0, 15.0, 20.0, 30.0, 45.0),
    "rotate90": (1.0, 1.0, 1.0, 1.0, 1.0),
    "shift": (0.1, 0.22, 0.35, 0.45, 0.6),
    "shear": (0.15, 0.35, 0.5, 0.65, 0.8),
    "thin": (0.2, 0.4, 0.6, 0.8, 1.0),
}
