"""Stacked layers: numbering, provenance, copies and mistakes."""

from __future__ import annotations

import pytest
import torch

from heredity.errors import MergeError
from heredity.merging.base import StateDict
from heredity.merging.stacking import LayerSlice, stack_layers


def model(depth: int, mark: float, width: int = 2) -> StateDict:
    """Layer i of the model marked m holds m + i; everything outside holds −m."""
    state = {"embed.weight": torch.full((3, width), -mark)}
    for i in range(depth):
        state[f"model.layers.{i}.attn.weight"] = torch.full((width, width), mark + i)
        state[f"model.layers.{i}.norm.bias"] = torch.full((width,), mark + i)
    state["head.weight"] = torch.full((3, width), -mark)
    return state


def values(state: StateDict) -> list[float]:
    depth = sum(name.endswith("attn.weight") for name in state)
    return [float(state[f"model.layers.{i}.attn.weight"][0, 0]) for i in range(depth)]


def test_layers_are_taken_in_order_and_numbered_anew() -> None:
    stacked = stack_layers([model(4, 10), model(4, 20)], [(0, 0, 3), (1, 1, 4), LayerSlice(0, 3, 4)])
    assert values(stacked) == [10, 11, 12, 21, 22, 23, 13]
    assert next(iter(stacked)) == "embed.weight"
    assert list(stacked)[-1] == "head.weight"
    assert [float(stacked[f"model.layers.{i}.norm.bias"][0]) for i in range(7)] == values(stacked)


def test_the_outside_comes_from_the_outer_model() -> None:
    stacked = stack_layers([model(2, 10), model(2, 20)], [(0, 0, 2)], outer=1)
    assert float(stacked["embed.weight"][0, 0]) == -20
    assert float(stacked["head.weight"][0, 0]) == -20
    assert values(stacked) == [10, 11]


def test_a_model_stacked_as_it_is_equals_itself() -> None:
    state = model(12, 5)
    stacked = stack_layers([state], [(0, 0, 12)])
    assert list(stacked) == list(state)
    assert all(torch.equal(stacked[name], state[name]) for name in state)


def test_repeated_layers_are_copies() -> None:
    state = model(2, 10)
    stacked = stack_layers([state], [(0, 0, 2), (0, 0, 2)])
    stacked["model.layers.0.attn.weight"].zero_()
    stacked["embed.weight"].zero_()
    assert values(stacked) == [0, 11, 10, 11]
    assert values(state) == [10, 11]
    assert float(state["embed.weight"][0, 0]) == -10


def test_one_of_several_stacks() -> None:
    state = {"encoder.0.w": torch.zeros(1), "encoder.1.w": torch.ones(1), "decoder.0.w": torch.full((1,), 9.0)}
    with pytest.raises(MergeError, match=r"several stacks of layers, 'decoder\.', 'encoder\.': say which"):
        stack_layers([state], [(0, 0, 1)])
    stacked = stack_layers([state], [(0, 1, 2), (0, 0, 2)], stack="encoder.")
    assert {name: float(tensor) for name, tensor in stacked.items()} == {
        "encoder.0.w": 1.0,
        "encoder.1.w": 0.0,
        "encoder.2.w": 1.0,
        "decoder.0.w": 9.0,
    }
    with pytest.raises(MergeError, match=r"no stack 'middle.'"):
        stack_layers([state], [(0, 0, 1)], stack="middle.")


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([], "no slices"),
        ([(0, 1, 3)], r"slice \(0, 1, 3\) needs layers 1 to 2; model 0 has 0 to 1"),
        ([(0, 1, 1)], "model 0 has 0 to 1"),
        ([(0, -1, 1)], "model 0 has 0 to 1"),
        ([(2, 0, 1)], "names model 2; there are 1"),
    ],
)
def test_impossible_slices(slices: list[tuple[int, int, int]], message: str) -> None:
    with pytest.raises(MergeError, match=message):
        stack_layers([model(2, 1)], slices)


def test_a_gap_in_the_numbering() -> None:
    state = model(3, 1)
    for rest in ("attn.weight", "norm.bias"):
        del state[f"model.layers.1.{rest}"]
    with pytest.raises(MergeError, match=r"model 0 has no layer 1 in 'model.layers.', but one with the number 2"):
        stack_layers([state], [(0, 0, 2)])


def test_layers_that_do_not_fit() -> None:
    with pytest.raises(
        MergeError, match=r"'model.layers.0.attn.weight' of model 1 \(\(3, 3\) .*fits no layer of model 0"
    ):
        stack_layers([model(2, 1), model(2, 2, width=3)], [(0, 0, 1), (1, 0, 1)])
    other = model(2, 2)
    other["model.layers.0.extra"] = torch.zeros(1)
    with pytest.raises(MergeError, match=r"extra.* fits no layer of model 0 \(missing\)"):
        stack_layers([model(2, 1), other], [(1, 0, 1)])
    del other["model.layers.0.extra"], other["model.layers.0.norm.bias"]
    with pytest.raises(MergeError, match=r"norm.bias' of model 1 \(missing\)"):
        stack_layers([model(2, 1), other], [(1, 0, 1)])


def test_no_layers_and_no_outer_model() -> None:
    with pytest.raises(MergeError, match="no tensor name holds a layer index"):
        stack_layers([{"w": torch.zeros(1)}], [(0, 0, 1)])
    with pytest.raises(MergeError, match="outer=3 is not one of the 1 models"):
        stack_layers([model(1, 1)], [(0, 0, 1)], outer=3)
