"""scikit-learn's 1,797 handwritten digits as plain tensors: the one door to them.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), as shipped with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Scale = Literal["unit", "signed"]


@dataclass(frozen=True)
class Split:
    """Two disjoint sets of images.

    Args:
        train_x: [N, 1, S, S] float32.
        train_y: [N] int64 in 0..9.
        test_x: [M, 1, S, S] float32.
        test_y: [M] int64.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def load_digits(
    size: Literal[8, 16] = 8,
    train: float | int = 0.75,
    seed: int = 0,
    scale: Scale = "unit",
    by_class: Sequence[int] | None = None,
) -> Split:
    """The digits, split into stratified, disjoint, seeded train and test sets.

    Args:
        size: side of the images; 16 is a bilinear enlargement of the original 8×8.
        train: share (float in 0..1) or number (int) of training images; the others are test images.
        seed: which split.
        scale: "unit" gives values in [0, 1], "signed" in [-1, 1].
        by_class: keep only these classes; labels stay 0..9. The split is made among the images kept.

    Raises:
        ValueError: an argument outside what is listed above.
    """
    x, y = all_digits(size, scale)
    if by_class is not None:
        wanted = sorted(set(by_class))
        if not wanted or wanted[0] < 0 or wanted[-1] > 9:
            raise ValueError(f"by_class must name classes in 0..9, got {list(by_class)}")
        kept = torch.isin(y, torch.tensor(wanted))
        x, y = x[kept], y[kept]
    count = round(train * len(y)) if isinstance(train, float) else train
    if not 0 < count < len(y):
        raise ValueError(f"train={train} leaves an empty set: it must select 1 to {len(y) - 1} of {len(y)} images")
    first, second = stratified_parts(y, (count, len(y) - count), seed)
    return Split(x[first], y[first], x[second], y[second])


def all_digits(size: Literal[8, 16] = 8, scale: Scale = "unit") -> tuple[Tensor, Tensor]:
    """All 1,797 images [N, 1, S, S] and labels [N], in scikit-learn's order."""
    if size not in {8, 16}:
        raise ValueError(f"size must be 8 or 16, got {size}")
    if scale not in {"unit", "signed"}:
        raise ValueError(f'scale must be "unit" or "signed", got {scale!r}')
    x, y = _bundled()
    if size == 16:
        x = functional.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False)
    return (x.clone() if scale == "unit" else x * 2 - 1), y.clone()


def stratified_parts(y: Tensor, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Disjoint index sets of the given sizes, in each of which every class has its share (±2 images).

    Args:
        y: [N] integer labels.
        sizes: positive sizes whose sum is at most N.
        seed: which division.

    Returns:
        One shuffled int64 index tensor per size.

    Raises:
        ValueError: sizes are not positive or exceed N.
    """
    if min(sizes) < 1 or sum(sizes) > len(y):
        raise ValueError(f"sizes {list(sizes)} must be positive and sum to at most {len(y)}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    # Interleave the classes evenly: an image's position is (its rank in its class + 1/2) / class size, so that
    # every interval of positions holds each class in proportion. The shuffle decides ranks and breaks ties.
    position = torch.empty(len(y), dtype=torch.float64)
    for label in torch.unique(y):
        members = order[y[order] == label]
        position[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    interleaved = order[torch.argsort(position[order], stable=True)]
    parts = []
    start = 0
    for size in sizes:
        part = interleaved[start : start + size]
        parts.append(part[torch.randperm(size, generator=generator)])
        start += size
    return parts


@cache
def _bundled() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits as load_bundled

    bundle = load_bundled()
    x = torch.tensor(bundle.images, dtype=torch.float32).div_(16).unsqueeze(1)
    return x, torch.tensor(bundle.target, dtype=torch.int64)
