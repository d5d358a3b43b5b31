"""Layers and groups, read from names."""

from __future__ import annotations

import pytest

from heredity.errors import MergeError
from heredity.merging.layers import FILTERS, group_index, layer_groups, layer_of

NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.{rest}" for i in range(12) for rest in ("self_attn.q_proj.weight", "mlp.up_proj.weight")),
    "model.norm.weight",
    "lm_head.weight",
]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.3.mlp.0.weight", ("model.layers.", 3, ".mlp.0.weight")),
        ("0.weight", ("", 0, ".weight")),
        ("blocks.10", ("blocks.", 10, "")),
        ("conv1.weight", None),
        ("layer4x.weight", None),
    ],
)
def test_layer_of(name: str, place: tuple[str, int, str] | None) -> None:
    assert layer_of(name) == place


def test_layer_pattern_of_the_user() -> None:
    assert layer_of("stage2.conv", r"stage(\d+)") == ("stage", 2, ".conv")
    with pytest.raises(MergeError, match="needs a group around the index"):
        layer_of("a.0", r"\d+")
    with pytest.raises(MergeError, match="is no regular expression"):
        layer_of("a.0", r"(\d+")


def test_one_group_per_layer_and_groups_outside() -> None:
    groups = layer_groups(NAMES)
    assert len(groups) == 14
    index = {name: group_index(name, groups) for name in NAMES}
    # layer 1 must not take layers 10 and 11
    assert [index[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(12)] == list(range(12))
    assert index["model.embed_tokens.weight"] == 12
    assert index["model.norm.weight"] == index["lm_head.weight"] == 13


def test_groups_of_several_layers() -> None:
    groups = layer_groups(NAMES, granularity=5)
    of = [group_index(f"model.layers.{i}.mlp.up_proj.weight", groups) for i in range(12)]
    assert of == [0] * 5 + [1] * 5 + [2] * 2


def test_order_of_names_does_not_matter() -> None:
    assert layer_groups(reversed(NAMES), 3) == layer_groups(NAMES, 3)


def test_several_stacks_and_gaps_in_numbers() -> None:
    # a plain Sequential: activations between layers 0, 2, 4 have no weights
    assert len(layer_groups(["0.weight", "0.bias", "2.weight", "4.weight"])) == 3
    names = ["encoder.0.w", "encoder.1.w", "decoder.0.w", "decoder.1.w"]
    groups = layer_groups(names, 2)
    assert [group_index(name, groups) for name in names] == [1, 1, 0, 0]


def test_filters() -> None:
    kinds = ["layers.0.self_attn.q.weight", "layers.0.attention.k.weight", "h.0.mlp.c_fc.weight", "norm.weight"]
    assert [group_index(name, FILTERS) for name in kinds] == [0, 0, 1, 2]


def test_a_name_outside_all_groups() -> None:
    with pytest.raises(MergeError, match="'head' belongs to none of the groups 'layers'"):
        group_index("head", ["layers"])


def test_granularity_below_one() -> None:
    with pytest.raises(MergeError, match="granularity must be 1 or more"):
        layer_groups(NAMES, 0)
