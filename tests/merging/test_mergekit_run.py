"""Running mergekit configurations on tiny Llama-shaped folders."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from heredity.errors import HeredityError, MergeError, RecipeError
from heredity.merging.mergekit_run import Merged, open_merge
from heredity.merging.mergekit_steps import in_steps
from heredity.merging.mergers import MethodMerger
from heredity.merging.methods import TensorParams, method_for

LAYERS, WIDTH, VOCABULARY = 4, 16, 32


def llama(seed: int, *, layers: int = LAYERS, vocabulary: int = VOCABULARY, tied: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return (torch.randn(rows, columns, generator=generator) * 0.1).bfloat16()

    state = {"model.embed_tokens.weight": matrix(vocabulary, WIDTH), "model.norm.weight": matrix(1, WIDTH)[0]}
    for i in range(layers):
        start = f"model.layers.{i}."
        state |= {f"{start}self_attn.{part}_proj.weight": matrix(WIDTH, WIDTH) for part in "qkvo"}
        state |= {f"{start}mlp.{part}_proj.weight": matrix(24, WIDTH) for part in ("gate", "up")}
        state[f"{start}mlp.down_proj.weight"] = matrix(WIDTH, 24)
        state |= {f"{start}{part}_layernorm.weight": matrix(1, WIDTH)[0] for part in ("input", "post_attention")}
    if not tied:
        state["lm_head.weight"] = matrix(vocabulary, WIDTH)
    return state


def save(folder: Path, state: dict[str, Tensor], **changes: Any) -> dict[str, Tensor]:
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": 24,
        "num_hidden_layers": sum(name.endswith("q_proj.weight") for name in state),
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "vocab_size": state["model.embed_tokens.weight"].shape[0],
        "tie_word_embeddings": "lm_head.weight" not in state,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    return state


def run(tmp_path: Path, config: dict[str, Any], **options: Any) -> tuple[dict[str, Tensor], Merged]:
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(config))
    with open_merge(file) as merge:
        merged = merge.write(tmp_path / "out", **options)
    state: dict[str, Tensor] = {}
    for path in (tmp_path / "out").glob("*.safetensors"):
        state |= load_file(path)
    return state, merged


def digest(state: dict[str, Tensor]) -> str:
    """The record's weights_sha256, spelt out for bfloat16."""
    sha = hashlib.sha256()
    for name in sorted(state):
        sha.update(f"{name}\0bfloat16\0{tuple(state[name].shape)}\0".encode())
        sha.update(state[name].contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def entry(model: str, **parameters: Any) -> dict[str, Any]:
    return {"model": model, "parameters": parameters}


@pytest.fixture
def parents(tmp_path: Path) -> dict[str, dict[str, Tensor]]:
    return {name: save(tmp_path / name, llama(seed)) for seed, name in enumerate(["base", "a", "b"])}


def test_a_linear_merge_writes_a_whole_folder(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    for name in ("generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"):
        (tmp_path / "a" / name).write_text('{"from": "a"}')
    config = {"merge_method": "linear", "models": [entry("a", weight=0.7), entry("b", weight=0.3)], "dtype": "bfloat16"}
    state, merged = run(tmp_path, config)
    expected = MethodMerger("linear", weight=(0.7, 0.3)).merge([parents["a"], parents["b"]])
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "mergekit_config.yml",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert yaml.safe_load((out / "mergekit_config.yml").read_text()) == config
    front = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    assert front["base_model"] == ["a", "b"]
    assert front["base_model_relation"] == "merge"
    assert "merge" in front["tags"]
    with safe_open(out / "model.safetensors", "pt") as reader:
        metadata = reader.metadata()
    lineage = json.loads(metadata["lineage"])
    assert metadata["format"] == "pt"
    assert lineage["method"] == "linear"
    assert lineage["parents"] == [{"model": name, "weights_sha256": digest(parents[name])} for name in ("a", "b")]
    assert merged.parents == {name: digest(parents[name]) for name in ("a", "b")}
    assert merged.tensors == len(expected)
    assert merged.write_bytes == sum(tensor.nbytes for tensor in expected.values())
    assert merged.read_bytes == 2 * merged.write_bytes


def test_gradients_and_filters_reach_their_tensors(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    t = [{"filter": "self_attn", "value": [0, 0.6]}, {"filter": "mlp", "value": [1, 0.5, 0]}, {"value": 0.5}]
    config = {"merge_method": "slerp", "base_model": "a", "models": [entry("b"), entry("a")], "parameters": {"t": t}}
    state, _ = run(tmp_path, config)
    # layers 0 to 3 stand at 0, 1/3, 2/3 and 1 of the gradient; t = 0 is base_model whatever the order of models
    for name, position in [
        ("model.layers.0.self_attn.q_proj.weight", 0.0),
        ("model.layers.2.self_attn.q_proj.weight", 0.4),
        ("model.layers.3.self_attn.o_proj.weight", 0.6),
        ("model.layers.0.mlp.up_proj.weight", 1.0),
        ("model.layers.1.mlp.up_proj.weight", 2 / 3),  # 1/3 of [1, 0.5, 0] is 2/3 of the way from 1 to 0.5
        ("model.layers.3.mlp.up_proj.weight", 0.0),
        ("lm_head.weight", 0.5),
    ]:
        pair = [parents["a"][name], parents["b"][name]]
        expected = method_for("slerp").merge_tensor(name, pair, TensorParams(t=position))
        assert torch.equal(state[name], expected), name


def test_the_more_specific_parameter_wins(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    config = {
        "merge_method": "linear",
        "slices": [
            {
                "sources": [
                    {"model": "a", "layer_range": [0, 2], "parameters": {"weight": [{"filter": "q_proj", "value": 3}]}},
                    {"model": "b", "layer_range": [0, 2]},
                ],
                "parameters": {"weight": 1},
            },
            {"sources": [{"model": m, "layer_range": [2, 4]} for m in ("a", "b")]},
        ],
        "parameters": {"weight": 0.25, "normalize": False},
    }
    state, _ = run(tmp_path, config)

    def mixed(name: str, *weights: float) -> Tensor:
        params = TensorParams(weight=weights)
        return method_for("linear", normalize=False).merge_tensor(name, [parents[m][name] for m in "ab"], params)

    for name, weights in [
        ("model.layers.1.self_attn.q_proj.weight", (3.0, 1.0)),
        ("model.layers.1.self_attn.k_proj.weight", (1.0, 1.0)),
        ("model.layers.3.self_attn.q_proj.weight", (0.25, 0.25)),
        ("model.embed_tokens.weight", (1.0, 1.0)),  # before the layers: like the first slice
        ("lm_head.weight", (0.25, 0.25)),  # after the layers: like the last
    ]:
        assert torch.equal(state[name], mixed(name, *weights)), name


def test_ties_takes_its_base_and_its_densities(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    models = [entry("a", weight=1.0, density=[1, 0.4]), entry("b", weight=0.5, density=0.5), entry("base")]
    config = {"merge_method": "ties", "base_model": "base", "models": models, "parameters": {"lambda": 0.8}}
    state, _ = run(tmp_path, config)
    for name, density in [("model.layers.0.mlp.up_proj.weight", 1.0), ("model.layers.3.mlp.up_proj.weight", 0.4)]:
        params = TensorParams(weight=(1.0, 0.5), density=(density, 0.5))
        pair = [parents["a"][name], parents["b"][name]]
        method = in_steps(method_for("ties", lam=0.8), "bfloat16")
        assert method is not None
        expected = method.merge_tensor(name, pair, params, base=parents["base"][name])
        assert torch.equal(state[name], expected), name
        assert not torch.equal(state[name], parents["base"][name])


def test_stacking_layers_renames_them_and_says_so_in_the_config(
    tmp_path: Path, parents: dict[str, dict[str, Tensor]]
) -> None:
    for name, kinds in [("a", "wxyz"), ("b", "WXYZ")]:
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps(config | {"layer_types": list(kinds)}))
    scale = [{"filter": "o_proj", "value": 0.5}, {"value": 1.0}]
    slices = [
        {"sources": [{"model": "a", "layer_range": [0, 3]}]},
        {"sources": [{"model": "b", "layer_range": [1, 4], "parameters": {"scale": scale}}]},
    ]
    state, merged = run(tmp_path, {"merge_method": "passthrough", "slices": slices})
    where = [("a", 0), ("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)]
    assert merged.tensors == 3 + 6 * 9
    for new, (parent, old) in enumerate(where):
        for part in ("self_attn.q_proj", "mlp.down_proj", "input_layernorm"):
            source = parents[parent][f"model.layers.{old}.{part}.weight"]
            assert torch.equal(state[f"model.layers.{new}.{part}.weight"], source)
    scaled = parents["b"]["model.layers.2.self_attn.o_proj.weight"] * 0.5  # exact in binary
    assert torch.equal(state["model.layers.4.self_attn.o_proj.weight"], scaled)
    assert torch.equal(state["model.embed_tokens.weight"], parents["a"]["model.embed_tokens.weight"])
    assert torch.equal(state["lm_head.weight"], parents["b"]["lm_head.weight"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_hidden_layers"] == 6
    assert config["layer_types"] == ["w", "x", "y", "X", "Y", "Z"]


def test_types_of_arithmetic_and_output(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    models = [entry("a", weight=1), entry("b", weight=2)]
    config = {"merge_method": "linear", "models": models, "dtype": "float32", "out_dtype": "float16"}
    state, _ = run(tmp_path, config)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    name = "model.layers.0.mlp.up_proj.weight"
    expected = method_for("linear").merge_tensor(
        name, [parents[m][name].float() for m in "ab"], TensorParams(weight=(1.0, 2.0))
    )
    assert torch.equal(state[name], expected.half())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "float16"


def test_a_head_that_only_one_model_has_is_merged_with_the_others_embedding(tmp_path: Path) -> None:
    a = save(tmp_path / "a", llama(0, tied=True))
    b = save(tmp_path / "b", llama(1))
    state, _ = run(tmp_path, {"merge_method": "linear", "models": [entry("a", weight=1), entry("b", weight=1)]})
    pair = [a["model.embed_tokens.weight"], b["lm_head.weight"]]
    expected = method_for("linear").merge_tensor("lm_head.weight", pair, TensorParams(weight=(1.0, 1.0)))
    assert torch.equal(state["lm_head.weight"], expected)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False


def test_random_masks_follow_the_seed(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    models = [entry("a", weight=0.5, density=0.5), entry("b", weight=0.5, density=0.5)]
    config = {"merge_method": "dare_linear", "base_model": "base", "models": models}
    one, _ = run(tmp_path, config, seed=1)
    again, _ = run(tmp_path, config, seed=1, overwrite=True, threads=1)
    other, _ = run(tmp_path, config, seed=2, overwrite=True)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_an_output_in_shards_loads_to_the_same(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    config = {"merge_method": "linear", "models": [entry("a", weight=1), entry("b", weight=2)]}
    whole, _ = run(tmp_path, config)
    parts, merged = run(tmp_path, config, max_shard_size=4000, overwrite=True)
    assert "model.safetensors.index.json" in merged.weights
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def write_lora(folder: Path, seed: int = 9, **changes: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    start = "base_model.model.model.layers.1.self_attn.q_proj."
    state = {
        f"{start}lora_A.weight": torch.randn(2, WIDTH, generator=generator),
        f"{start}lora_B.weight": torch.randn(WIDTH, 2, generator=generator),
    }
    folder.mkdir()
    save_file(state, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 6} | changes))
    return state


def test_an_adapter_is_applied_on_the_way(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    lora = write_lora(tmp_path / "lora")
    state, merged = run(tmp_path, {"merge_method": "passthrough", "models": [{"model": "a+lora"}]})
    a, b = lora.values()
    name = "model.layers.1.self_attn.q_proj.weight"
    torch.testing.assert_close(state[name], (parents["a"][name].float() + 3.0 * b @ a).bfloat16())  # α/r = 6/2
    assert all(torch.equal(state[other], parents["a"][other]) for other in state if other != name)
    assert list(merged.parents) == ["a+lora", "lora (adapter)"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": [entry("a"), entry("b")]}, "linear needs 'weight' for a"),
        ({"merge_method": "linaer"}, "unknown merge_method 'linaer' in .*config.yml; did you mean 'linear'"),
        ({"merge_method": "sce"}, "merge_method 'sce' is not supported"),
        ({"merge_method": "ties"}, "ties needs base_model"),
        ({"merge_method": "slerp", "base_model": "a"}, "slerp needs 't'"),
        ({"merge_method": "slerp", "base_model": "base"}, "slerp merges exactly two models"),
        ({"models": [entry("./gone", weight=1)]}, r"the model folder ./gone does not exist"),
        ({"models": [entry("a", weight=1), entry("a", weight=2)]}, "models lists a twice"),
        ({"merge_method": "passthrough"}, "passthrough takes exactly one model"),
        ({"models": [entry("a", weight=1), entry("b", weight=-1)]}, "add up to zero"),
    ],
)
def test_a_configuration_that_cannot_be_run_says_why_in_one_line(
    tmp_path: Path, parents: dict[str, dict[str, Tensor]], change: dict[str, Any], message: str
) -> None:
    config = {"merge_method": "linear", "models": [entry("a", weight=1), entry("b", weight=1)]} | change
    with pytest.raises(HeredityError, match=message) as caught:
        run(tmp_path, config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_layers_that_a_model_does_not_have(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    slices = [{"sources": [{"model": "a", "layer_range": [0, 9]}]}]
    with pytest.raises(
        RecipeError, match=r"slices\[0\].sources\[0\].layer_range \[0, 9\] goes beyond the 4 layers of a"
    ):
        run(tmp_path, {"merge_method": "passthrough", "slices": slices})


def test_models_that_do_not_fit_are_named(tmp_path: Path, parents: dict[str, dict[str, Tensor]]) -> None:
    save(tmp_path / "deep", llama(5, layers=5))
    save(tmp_path / "wide", llama(6, vocabulary=40))
    with pytest.raises(MergeError, match=r"a has 4 layers in 'model.layers' and deep has 5; use slices"):
        run(tmp_path, {"merge_method": "linear", "models": [entry("a", weight=1), entry("deep", weight=1)]})
    with pytest.raises(MergeError, match=r"shapes differ at .*: a has .* wide has .*; the vocabularies differ"):
        run(tmp_path, {"merge_method": "linear", "models": [entry("a", weight=1), entry("wide", weight=1)]})
    lacking = llama(7)
    del lacking["model.layers.2.mlp.up_proj.weight"]
    save(tmp_path / "lacking", lacking)
    with pytest.raises(MergeError, match=r"lacking has no tensor 'model.layers.2.mlp.up_proj.weight', which a has"):
        run(tmp_path, {"merge_method": "linear", "models": [entry("a", weight=1), entry("lacking", weight=1)]})


def test_an_unknown_hub_name_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest.importorskip("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    with pytest.raises(
        RecipeError, match="the model nobody/nothing-here is neither a folder here nor to be had"
    ) as got:
        run(tmp_path, {"merge_method": "linear", "models": [entry("nobody/nothing-here", weight=1)]})
    assert "\n" not in str(got.value)


def test_buffers_that_models_recompute_are_left_out(tmp_path: Path) -> None:
    a = llama(0) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save(tmp_path / "a", a)
    save(tmp_path / "b", llama(1))
    state, merged = run(tmp_path, {"merge_method": "linear", "models": [entry("a", weight=1), entry("b", weight=1)]})
    assert state.keys() == llama(1).keys()
    assert any("rotary_emb.inv_freq" in note for note in merged.notes)


def test_the_output_loads_in_transformers_and_computes_what_the_merge_says(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=32,
    )
    models = []
    for seed, name in enumerate(["base", "a", "b"]):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            models.append(transformers.LlamaForCausalLM(config).eval())
        models[-1].save_pretrained(tmp_path / name)
    entries = [entry("a", weight=0.6, density=0.5), entry("b", weight=0.4, density=0.7)]
    run(tmp_path, {"merge_method": "ties", "base_model": "base", "models": entries})
    base, *others = [model.state_dict() for model in models]
    merger = MethodMerger("ties", weight=(0.6, 0.4), density=(0.5, 0.7))
    models[0].load_state_dict(merger.merge(others, base=base))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokens = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, models[0](tokens).logits)
