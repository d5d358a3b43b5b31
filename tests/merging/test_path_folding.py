"""A folded path computes what the data-flow model computes: chains exactly, transformers up to the norm's ε."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heredity.data.experts import MLP
from heredity.errors import MergeError
from heredity.merging.data_flow import DataFlowModel, DataFlowRecipe
from heredity.merging.path_folding import fold_path, path_layers, path_steps

DEEP = (6, 5, 5, 5, 3)  # two inner layers
SCALE = st.one_of(st.just(0.0), st.floats(-2, 2))


def recipe_of(active: Sequence[int], slots: int, scale: Sequence[Sequence[float]]) -> DataFlowRecipe:
    on = set(active)
    return DataFlowRecipe(tuple(i in on for i in range(slots)), tuple(tuple(row) for row in scale))


def random_scale(m: int, seed: int) -> list[list[float]]:
    generator = torch.Generator().manual_seed(seed)
    signs = torch.where(torch.rand(m, m, generator=generator) < 0.3, -1.0, 1.0)
    return (signs * (0.6 + 0.8 * torch.rand(m, m, generator=generator))).tolist()


# --- chains ---


class Relu(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x))


def chain(models: Sequence[MLP], recipe: DataFlowRecipe) -> DataFlowModel:
    stacks = [nn.ModuleList(Relu(layer) for layer in model.layers[1:-1]) for model in models]
    return DataFlowModel.of(recipe, stacks, Relu(models[0].layers[0]), models[0].layers[-1])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=8, unique=True),
    st.lists(st.lists(SCALE, min_size=4, max_size=4), min_size=4, max_size=4),
)
def test_a_folded_chain_is_the_path_whatever_the_scales(active: list[int], scale: list[list[float]]) -> None:
    a, b = MLP(DEEP, seed=1), MLP(DEEP, seed=2)
    recipe = recipe_of(active, 8, scale)
    folded = fold_path([a.state_dict(), b.state_dict()], recipe, (2, 2), "sequential")
    child = MLP((6, *[5] * (len(recipe.path) + 1), 3))
    child.load_state_dict(folded)
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(child(x), chain([a, b], recipe)(x), rtol=1e-4, atol=1e-5)


def test_the_first_parent_alone_comes_back_bit_for_bit() -> None:
    a, b = MLP(DEEP, seed=1), MLP(DEEP, seed=2)
    recipe = recipe_of([0, 1], 4, [[1.0] * 4] * 4)
    folded = fold_path([a.state_dict(), b.state_dict()], recipe, (2, 2), "sequential")
    assert list(folded) == list(a.state_dict())
    assert all(torch.equal(folded[name], tensor) for name, tensor in a.state_dict().items())


def test_steps_name_the_layer_and_take_the_scale_of_what_went_before() -> None:
    # Layers in a row: (0, 0), (1, 0), (1, 1). Slots 2, 3 and 5 are layers 2, 0 and 2.
    recipe = recipe_of([2, 3, 5], 6, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    # From the embeddings (row 0) to 2: 3; from 2 to 0: 7; from 0 to 2: 3.
    assert path_steps(recipe, (1, 2)) == [(1, 1, 3.0), (0, 0, 7.0), (1, 1, 3.0)]


def test_layers_that_a_path_may_use_are_counted() -> None:
    assert path_layers(MLP(DEEP).state_dict(), "sequential") == 2
    outside = {"embed.weight": torch.zeros(1), "layers.0.weight": torch.zeros(1, 1), "layers.1.weight": torch.zeros(1)}
    assert path_layers(outside, "sequential") == 2
    with pytest.raises(MergeError, match="between first and last"):
        path_layers(MLP((6, 5, 3)).state_dict(), "sequential")


def test_what_is_no_chain_is_refused() -> None:
    model, ones = MLP(DEEP).state_dict(), [[1.0] * 2] * 2
    recipe = recipe_of([0, 1], 2, ones)
    with pytest.raises(MergeError, match="counts 3 layers of model 0; a sequential path has 2"):
        fold_path([model], recipe_of([0], 3, [[1.0] * 3] * 3), (3,), "sequential")
    with pytest.raises(MergeError, match=r"one through 2 layers; the models have \[1\]"):
        fold_path([model], recipe, (1,), "sequential")
    with pytest.raises(MergeError, match="1 models with 2 numbers"):
        fold_path([model], recipe, (1, 1), "sequential")
    with pytest.raises(MergeError, match=r"layers\.1\.scale.*not one linear map"):
        fold_path([{**model, "layers.1.scale": torch.ones(5)}], recipe, (2,), "sequential")
    with pytest.raises(MergeError, match="holds 2 weights"):
        fold_path([{**model, "layers.1.second.weight": torch.ones(5, 5)}], recipe, (2,), "sequential")
    with pytest.raises(MergeError, match="not finite"):
        halves = {name: tensor.half() for name, tensor in model.items()}
        fold_path([halves], recipe_of([0, 1], 2, [[1e6] * 2] * 2), (2,), "sequential")


# --- pre-norm transformers ---


def tiny(name: str, seed: int, eps: float, layers: int = 2) -> Any:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(
        vocab_size=23,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        rms_norm_eps=eps,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        for (
            key,
            tensor,
        ) in model.named_parameters():  # gains and biases start as ones and zeros, which would hide errors
            if key.endswith("bias") or "norm" in key:
                tensor.data += 0.3 * torch.randn_like(tensor)
    return model


class Path(nn.Module):
    """The data-flow model around transformers' own layers."""

    def __init__(self, models: Sequence[Any], recipe: DataFlowRecipe) -> None:
        super().__init__()
        first = models[0]
        suffix = nn.Sequential(first.model.norm, first.lm_head)
        self.first = first
        stacks = [model.model.layers for model in models]
        self.flow = DataFlowModel.of(recipe, stacks, first.model.embed_tokens, suffix, call=self._call)

    def _call(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        places = torch.arange(hidden.shape[1])[None]
        angles = self.first.model.rotary_emb(hidden, position_ids=places)
        out = layer(hidden, attention_mask=None, position_ids=places, position_embeddings=angles)
        return out if isinstance(out, Tensor) else out[0]

    def forward(self, ids: Tensor) -> Tensor:
        return self.flow(ids)


def folded_model(models: Sequence[Any], recipe: DataFlowRecipe, layers: Sequence[int]) -> Any:
    import copy

    config = copy.deepcopy(models[0].config)
    config.num_hidden_layers = len(recipe.path)
    if getattr(config, "layer_types", None):
        config.layer_types = ["full_attention"] * len(recipe.path)
    with torch.random.fork_rng():
        child = type(models[0])(config).eval()
    child.load_state_dict(fold_path([model.state_dict() for model in models], recipe, layers, "residual"))
    return child


IDS = torch.arange(12).reshape(2, 6)


@torch.no_grad()
def difference(name: str, eps: float, scale: Sequence[Sequence[float]]) -> float:
    """Largest difference of logits, relative to their standard deviation."""
    models = [tiny(name, 0, eps), tiny(name, 1, eps, layers=1)]
    recipe = recipe_of([0, 1, 2, 4, 5], 6, scale)  # layers 0 1 2, then 1 2 again
    asked = Path(models, recipe)(IDS)
    found = folded_model(models, recipe, (2, 1))(IDS).logits
    return float((found - asked).abs().max() / asked.std())


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("seed", [3, 4])
def test_a_folded_transformer_is_the_path(name: str, seed: int) -> None:
    scale = random_scale(3, seed)
    assert any(s < 0 for row in scale for s in row), "signs are folded too; Qwen2's projections have biases"
    # With no ε to speak of only rounding is left.
    assert difference(name, 1e-12, scale) < 1e-4


def test_what_is_left_is_the_norms_epsilon() -> None:
    scale = [[0.5] * 3] * 3  # after five layers the product is 1/32: ε counts 1024-fold
    exact, usual, large = (difference("Llama", eps, scale) for eps in (1e-12, 1e-6, 1e-4))
    assert exact < 1e-4
    assert usual < 1e-2
    assert exact < usual < large, "and it grows with ε"


def test_a_product_of_zero_and_foreign_layers_are_refused() -> None:
    pytest.importorskip("transformers")
    state = tiny("Llama", 0, 1e-6).state_dict()

    def fold(weights: dict[str, Tensor], s: float) -> None:
        fold_path([weights], recipe_of([0, 1], 2, [[s] * 2] * 2), (2,))

    with pytest.raises(MergeError, match=r"up to layer 0 .* multiply to 0\.0: the hidden state would vanish"):
        fold(state, 0.0)
    with pytest.raises(MergeError, match="up to layer 1"):
        fold(state, 1e-200)  # (1e-200)² underflows
    with pytest.raises(MergeError, match=r"not finite in torch\.float16"):
        fold({name: tensor.half() for name, tensor in state.items()}, 1e-6)
    with pytest.raises(MergeError, match=r"pre_feedforward_layernorm.*pre-norm"):
        fold({**state, "model.layers.1.pre_feedforward_layernorm.weight": torch.ones(16)}, 1.0)
    with pytest.raises(MergeError, match=r"no 'mlp\.down_proj\.weight'"):
        fold({name: tensor for name, tensor in state.items() if "down_proj" not in name}, 1.0)
    with pytest.raises(MergeError, match=r"no final norm 'model\.norm\.weight'"):
        fold({name: tensor for name, tensor in state.items() if name != "model.norm.weight"}, 1.0)
