"""What every merger relies on: comparing models, finding bad values, counted generators."""

from __future__ import annotations

import pytest
import torch

from heredity.errors import MergeError, NonFinite
from heredity.merging.base import check_compatible, check_finite, same_tensor, tensor_generator


def test_the_first_difference_and_both_sides_are_named() -> None:
    a = {"x": torch.zeros(2), "y": torch.zeros(2), "z": torch.zeros(1)}
    with pytest.raises(MergeError, match=r"keys differ: a has 'y', b has not \(and 1 more"):
        check_compatible([a, {"x": torch.zeros(2)}], names=["a", "b"])
    with pytest.raises(MergeError, match="keys differ: base has 'q', model 0 has not"):
        check_compatible([a], {**a, "q": torch.zeros(1)})
    with pytest.raises(MergeError, match="the list of models is empty"):
        check_compatible([])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_bad_values_are_counted_and_huge_ones_are_fine(dtype: torch.dtype) -> None:
    tensor = torch.full((3, (1 << 20) // 2), torch.finfo(dtype).max, dtype=dtype)
    check_finite(tensor, "w", "a")  # the sum overflows, no entry is bad
    tensor[0, 0], tensor[2, -1] = torch.nan, -torch.inf
    with pytest.raises(NonFinite, match="a has 2 non-finite values in 'w'"):
        check_finite(tensor, "w", "a")
    check_finite(torch.tensor([1, 2]), "ids", "a")
    check_finite(torch.empty(0), "none", "a")


def test_same_tensor() -> None:
    a = torch.arange(6.0).view(2, 3)
    assert same_tensor(a, a)
    assert same_tensor(a, a.clone())
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert not same_tensor(square, square.t()), "one memory, two readings"


def test_generators_depend_on_every_name_and_on_nothing_else() -> None:
    def draw(*key: int | str) -> float:
        return float(torch.rand(1, generator=tensor_generator(*key)))  # type: ignore[arg-type]

    assert draw(0, 1, "w") == draw(0, 1, "w")
    keys = [(0, 1, "w"), (1, 1, "w"), (0, 2, "w"), (0, 1, "v"), (0, 11, "w"), (0, "1", "1", "w")]
    assert len({draw(*key) for key in keys}) == len(keys)
