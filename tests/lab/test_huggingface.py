"""Reading and writing Hugging Face folders: what comes out computes what went in, and damage is named."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

import heredity as hd
from heredity.errors import LabError
from heredity.lab import canonical
from heredity.lab.huggingface import export_model, locate, read_model

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TOKENS = torch.arange(8)[None]
HEX = "0123456789abcdef0123456789abcdef01234567"  # a commit's name


def llama(seed: int = 0, *, tied: bool = False, dtype: torch.dtype = torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = transformers.LlamaConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=32,
            tie_word_embeddings=tied,
            dtype=str(dtype).removeprefix("torch."),
        )
        return transformers.LlamaForCausalLM(config).to(dtype).eval()


def save_llama(folder: Path, **options) -> Path:
    llama(**options).save_pretrained(folder)
    words = {"[UNK]": 0, **{f"w{i}": i for i in range(1, 32)}}
    bare = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    bare.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="[UNK]")
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("# the original's own card\n")
    return folder


def save_adapter(folder: Path, base, seed: int = 1, **options) -> Path:
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        # init_lora_weights=False: B is random too, so that the adapter changes the logits.
        config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, **options)
        peft.get_peft_model(base, config).save_pretrained(folder)
    return folder


def logits(module) -> torch.Tensor:
    with torch.no_grad():
        return module(TOKENS).logits


@dataclass(frozen=True)
class Scale(hd.Operator):
    factor: float
    kind: ClassVar[str] = "mutate"

    def apply(self, parents, context):
        return {name: tensor * self.factor for name, tensor in parents[0].load().state_dict().items()}


@dataclass(frozen=True)
class InDouble(hd.Operator):
    """The same weights in double precision."""

    kind: ClassVar[str] = "mutate"

    def apply(self, parents, context):
        return {name: tensor.double() for name, tensor in parents[0].weights().items()}


@pytest.fixture
def lab(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab:
        yield lab


# Transformers folders


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_folder_comes_back_out_as_it_went_in(tmp_path, lab, tied, dtype):
    folder = save_llama(tmp_path / "in", tied=tied, dtype=dtype)
    model = lab.add(folder, name="ancestor")
    original = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits(model.load()), logits(original))
    assert {tensor.dtype for tensor in model.weights().values()} == {dtype}

    written = export_model(model, tmp_path / "out")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert again.dtype == dtype
    assert torch.equal(logits(again), logits(original))
    assert (again.lm_head.weight is again.model.embed_tokens.weight) is tied
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == set(load_file(folder / "model.safetensors"))
    assert sorted(written) == sorted(item for item in (tmp_path / "out").iterdir())


def test_tokenizer_and_generation_settings_travel_and_the_card_does_not(tmp_path, lab):
    folder = save_llama(tmp_path / "in")
    (folder / "generation_config.json").write_text('{"max_new_tokens": 7}')
    model = lab.add(folder)
    assert model.load().generation_config.max_new_tokens == 7
    export_model(model, tmp_path / "out")
    before = transformers.AutoTokenizer.from_pretrained(folder)
    after = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert after("w3 w5 what").input_ids == before("w3 w5 what").input_ids == [3, 5, 0]
    assert after.chat_template == before.chat_template
    assert (tmp_path / "out" / "generation_config.json").read_text() == '{"max_new_tokens": 7}'
    assert "original's own card" not in (tmp_path / "out" / "README.md").read_text()


def test_a_module_with_tied_weights_is_the_same_model_as_its_folder(tmp_path, lab):
    module = llama(tied=True)
    module.save_pretrained(tmp_path / "in")
    by_module, by_folder = lab.add(module), lab.add(tmp_path / "in")
    assert by_module.weights_sha256 == by_folder.weights_sha256
    assert torch.equal(logits(by_module.load()), logits(module))
    assert torch.equal(logits(by_folder.load(into=llama(seed=5, tied=True))), logits(module))


def test_tensors_tied_by_hand_are_written_twice_because_the_class_does_not_tie_them(tmp_path, lab):
    module = llama(tied=False)
    module.lm_head.weight = module.model.embed_tokens.weight
    model = lab.add(module)
    assert "lm_head.weight" not in model.weights()
    export_model(model, tmp_path / "out")
    assert torch.equal(logits(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")), logits(module))
    found = read_model(tmp_path / "out")  # the copy is taken out again, so that the weights have the recorded hash
    assert lab.add(tmp_path / "out").weights_sha256 == model.weights_sha256
    assert found.architecture == model.architecture


def test_shards_are_written_read_and_loaded(tmp_path, lab):
    module = llama()
    model = lab.add(module)
    # Every tensor of the model but the two of 32·16·4 = 2048 bytes (and the MLP's, as large) fits in 1500 bytes.
    written = export_model(model, tmp_path / "out", max_shard_size=1500)
    shards = [path for path in written if path.suffix == ".safetensors"]
    assert len(shards) > 3
    for shard in shards:
        tensors = load_file(shard)
        assert len(tensors) == 1 or sum(t.numel() * t.element_size() for t in tensors.values()) <= 1500
    assert torch.equal(logits(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")), logits(module))
    assert lab.add(tmp_path / "out").weights_sha256 == model.weights_sha256
    with pytest.raises(LabError, match="one of several shards"):
        read_model(shards[0])


@pytest.mark.slow
def test_births_in_worker_processes_are_exported_and_load_in_transformers(tmp_path):
    canonical.allow(__name__)
    folder = save_llama(tmp_path / "in", tied=True)
    with hd.Lab(tmp_path / "lab", executor="processes:1") as lab:
        child = lab.derive(Scale(0.5), lab.add(folder))
        export_model(child, tmp_path / "out")
        assert set(child.files()) >= {"tokenizer.json"}
    expected = llama(tied=True)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.mul_(0.5)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(again), logits(expected))
    assert not torch.equal(logits(again), logits(llama(tied=True)))
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("w4").input_ids == [4]


def test_a_child_of_another_precision_is_not_rounded_by_the_inherited_configuration(tmp_path, lab):
    parent = lab.add(save_llama(tmp_path / "in", dtype=torch.bfloat16))
    child = lab.derive(InDouble(), parent)
    export_model(child, tmp_path / "out")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert again.dtype == torch.float64
    assert child.load().dtype == torch.float64


def test_names_of_older_checkpoints_are_understood(tmp_path, lab):
    # GPT-2 lies on the hub without the prefix "transformer." and without the tied head.
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=32, n_positions=16)
    module = transformers.GPT2LMHeadModel(config).eval()
    module.save_pretrained(tmp_path / "in")
    weights = load_file(tmp_path / "in" / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    assert set(bare) != set(weights)
    save_file(bare, tmp_path / "in" / "model.safetensors")
    model = lab.add(tmp_path / "in")
    assert torch.equal(logits(model.load()), logits(module))
    export_model(model, tmp_path / "out")
    assert torch.equal(logits(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")), logits(module))


def test_the_global_generator_and_the_progress_bar_are_left_alone(tmp_path, lab):
    model = lab.add(save_llama(tmp_path / "in"))
    before = torch.get_rng_state()
    model.load()
    assert torch.equal(torch.get_rng_state(), before)
    assert transformers.logging.is_progress_bar_enabled()


def test_loading_says_which_tensor_the_record_lacks(tmp_path, lab):
    folder = save_llama(tmp_path / "in")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(LabError, match=r"lacks 'model\.norm\.weight'"):
        lab.add(folder).load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "nothing"}, "no model type 'nothing'"),
        ({"architectures": ["Invented"]}, "no model class 'Invented'"),
        ({"architectures": ["AutoConfig"]}, "no model class 'AutoConfig'"),
        ({"vocab_size": "many"}, "refuses the recorded configuration"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(tmp_path, lab, change, message):
    folder = save_llama(tmp_path / "in")
    settings = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(LabError, match=message):
        lab.add(folder).load()


def test_reading_needs_no_transformers(tmp_path):
    folder = save_llama(tmp_path / "in")
    script = (
        "import sys; sys.modules['transformers'] = sys.modules['peft'] = None\n"
        "import heredity as hd\n"
        f"model = hd.Lab({str(tmp_path / 'lab')!r}).add({str(folder)!r})\n"
        "print(len(model.weights()), model.architecture['class'])\n"
        "try: model.load()\n"
        "except hd.errors.MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # 2 layers of 9 tensors, embedding, final norm, head: 21.
    assert done.stdout.splitlines()[0] == "21 LlamaForCausalLM"
    assert "heredity[hf]" in done.stdout


# Adapters


def test_an_adapter_is_a_child_of_its_base_and_loads_as_peft_loads_it(tmp_path, lab):
    folder = save_llama(tmp_path / "base", tied=True)
    adapter = save_adapter(tmp_path / "adapter", llama(tied=True))
    base = lab.add(folder)
    child = lab.add(adapter, base=base)
    assert child.edges == [("base", base)]

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft warns when it has looked for the base on the hub
        loaded = child.load()
    expected = peft.PeftModel.from_pretrained(llama(tied=True), adapter).eval()
    assert isinstance(loaded, peft.PeftModel)
    assert torch.equal(logits(loaded), logits(expected))
    assert not torch.equal(logits(loaded), logits(llama(tied=True)))
    # Saved for inference, loaded to go on: an operator that trains it must find trainable weights.
    assert [name for name, p in loaded.named_parameters() if p.requires_grad] != []

    export_model(child, tmp_path / "out")
    again = peft.PeftModel.from_pretrained(llama(tied=True), tmp_path / "out").eval()
    assert torch.equal(logits(again), logits(expected))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }


def test_a_peft_module_is_recorded_like_its_folder_and_under_any_adapter_name(tmp_path, lab):
    base = lab.add(llama())
    with torch.random.fork_rng():
        torch.manual_seed(2)
        config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        module = peft.get_peft_model(llama(), config, adapter_name="mine").eval()
    child = lab.add(module, base=base)
    assert torch.equal(logits(child.load()), logits(module))
    module.save_pretrained(tmp_path / "in")
    assert lab.add(tmp_path / "in" / "mine", base=base).weights_sha256 == child.weights_sha256


def test_a_child_of_an_adapter_sits_on_the_same_base(tmp_path, lab):
    base = lab.add(llama())
    parent = lab.add(save_adapter(tmp_path / "adapter", llama()), base=base)
    with lab.step("halve", parents=[parent]) as step:
        child = step.commit({name: tensor / 2 for name, tensor in parent.weights().items()})
    module = peft.PeftModel.from_pretrained(llama(), tmp_path / "adapter").eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                parameter.mul_(0.5)
    assert torch.equal(logits(child.load()), logits(module))


def test_an_adapter_remembers_the_name_of_a_base_that_is_not_recorded(tmp_path, lab):
    folder = save_adapter(tmp_path / "adapter", llama())
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "org/base"}))
    found = read_model(folder)
    assert found.labels == {"base_model_name_or_path": "org/base"}
    assert found.architecture["config"]["base_model_name_or_path"] is None
    export_model(lab.add(folder, labels=found.labels), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/base"


def test_an_incomplete_adapter_is_refused_when_it_is_loaded(tmp_path, lab):
    folder = save_adapter(tmp_path / "adapter", llama())
    weights = load_file(folder / "adapter_model.safetensors")
    gone = min(weights)
    del weights[gone]
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(LabError, match="the record lacks") as caught:
        lab.add(folder, base=lab.add(llama())).load()
    assert gone in str(caught.value)


def test_a_model_and_an_adapter_in_one_folder_are_refused(tmp_path):
    save_llama(tmp_path / "m")
    save_adapter(tmp_path / "m", llama())
    with pytest.raises(LabError, match="both a model and an adapter"):
        read_model(tmp_path / "m")


def test_exports_have_the_same_bytes_every_time(tmp_path, lab):
    model = lab.add(save_llama(tmp_path / "in"))

    def digests(folder: Path) -> dict[str, str]:
        export_model(model, folder, max_shard_size=5000)
        return {item.name: hashlib.sha256(item.read_bytes()).hexdigest() for item in folder.iterdir()}

    assert digests(tmp_path / "one") == digests(tmp_path / "two")


# The hub


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A local cache of the hub that holds org/tiny, and no network."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    cache = tmp_path / "hub"
    repo = cache / "models--org--tiny"
    save_llama(repo / "snapshots" / HEX)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(HEX)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return cache


def test_a_hub_name_is_found_in_the_local_cache(hub_cache):
    folder = locate("org/tiny")
    assert folder == locate(f"org/tiny@{HEX}") == hub_cache / "models--org--tiny" / "snapshots" / HEX
    found = read_model("org/tiny")
    assert found.labels == {"hub": "org/tiny", "revision": HEX}
    assert found.architecture["class"] == "LlamaForCausalLM"


def test_a_local_folder_wins_over_a_hub_name(hub_cache, tmp_path):
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    save_file({"w": torch.ones(1)}, tmp_path / "org" / "tiny" / "model.safetensors")
    assert locate("org/tiny") == Path("org/tiny")
    assert read_model("org/tiny").labels == {}


def test_a_hub_name_that_is_nowhere_is_an_error(hub_cache):
    with pytest.raises(LabError, match="org/absent is neither a local path nor"):
        locate("org/absent")


def test_an_adapter_of_a_hub_model_names_it(hub_cache, lab, tmp_path):
    found = read_model("org/tiny")
    base = lab.add(locate("org/tiny"), labels=found.labels)
    child = lab.add(save_adapter(tmp_path / "adapter", llama()), base=base)
    export_model(child, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/tiny"
