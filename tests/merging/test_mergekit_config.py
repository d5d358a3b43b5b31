"""mergekit's YAML: what is accepted, what a parameter is worth, and how a mistake is named."""

import pytest

from heredity.errors import RecipeError
from heredity.merging.mergekit_config import load_config, parse_config
from heredity.merging.mergekit_schema import Condition, ModelRef, Slice, Source, evaluate

TIES = """
merge_method: ties
base_model: org/base@main
models:
  - model: a            # comments stay in the text
    parameters:
      density: [1, 0.7, 0.1]
      weight: 1.0
  - model: b+c@v2
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
parameters:
  normalize: true
  int8_mask: true
dtype: float16
"""


def test_a_whole_configuration() -> None:
    config = parse_config(TIES)
    assert config.method == "ties"
    assert config.base_model == ModelRef("org/base", "main")
    assert config.models == (
        Source(ModelRef("a"), None, {"density": (1, 0.7, 0.1), "weight": 1.0}),
        Source(
            ModelRef("b", None, "c", "v2"), None, {"density": 0.33, "weight": (Condition(0.5, "mlp"), Condition(0))}
        ),
    )
    assert config.parameters == {"normalize": True, "int8_mask": True}
    assert (config.dtype, config.out_dtype, config.tokenizer, config.slices) == ("float16", None, None, ())
    assert config.text == TIES
    assert [str(ref) for ref in config.references()] == ["org/base@main", "a", "b+c@v2"]


def test_slices_and_a_single_module() -> None:
    text = """
merge_method: passthrough
{}slices:
{}  - sources: [{{model: a, layer_range: [0, 24]}}]
{}  - sources: [{{model: b, layer_range: [20, 40], parameters: {{scale: 0.5}}}}]
{}    parameters: {{scale: 1}}
"""
    flat = parse_config(text.format("", "", "", ""))
    assert flat.slices == (
        Slice((Source(ModelRef("a"), (0, 24), {}),)),
        Slice((Source(ModelRef("b"), (20, 40), {"scale": 0.5}),), None, {"scale": 1}),
    )
    nested = parse_config(text.format("modules:\n  default:\n    ", *["    "] * 3))
    assert nested.slices == flat.slices


def test_forms_of_a_model() -> None:
    def model(text: str) -> ModelRef:
        return parse_config(f"merge_method: linear\nmodels:\n  - model: {text}\n").models[0].model

    assert model("./a/b") == ModelRef("./a/b")
    assert model("{model: {path: org/m, revision: r}, lora: ./l}") == ModelRef("org/m", "r", "./l", None)
    assert str(model("m@1+l@2")) == "m@1+l@2"


def test_numbers_written_as_text_are_numbers() -> None:
    # YAML 1.1 reads 1e-3 as a string, for want of a point
    config = parse_config("merge_method: linear\nmodels: [{model: a, parameters: {weight: 1e-3}}]")
    assert config.models[0].parameters["weight"] == 0.001


@pytest.mark.parametrize(
    ("setting", "name", "t", "value"),
    [
        (0.3, "any", 0.9, 0.3),
        ((0.0, 1.0), "any", 0.25, 0.25),
        ((0, 0.5, 0.3, 0.7, 1), "any", 0.5, 0.3),  # position 2 of 0..4
        ((0, 0.5, 0.3, 0.7, 1), "any", 0.625, 0.5),  # half-way between 0.3 and 0.7
        ((0.2, 0.8), "any", 1.0, 0.8),
        ((0.7,), "any", 1.0, 0.7),
        ((Condition((0.0, 2.0), "mlp"), Condition(5)), "l.mlp.up", 0.5, 1.0),
        ((Condition((0.0, 2.0), "mlp"), Condition(5)), "l.attn.q", 0.5, 5),
        ((Condition(1, "mlp"),), "l.attn.q", 0.5, None),
        ((Condition(1, "*"),), "l.attn.q", 0.5, 1),
        (True, "any", 0, True),
    ],
)
def test_evaluate(setting: object, name: str, t: float, value: object) -> None:
    found = evaluate(setting, name, t)  # type: ignore[arg-type]
    assert found == pytest.approx(value) if isinstance(value, float) else found == value


MODEL = "models: [{model: a}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "merge_metod: linear\n" + MODEL,
            "unknown key 'merge_metod' in conf: the document; did you mean 'merge_method'",
        ),
        (MODEL, "the document needs 'merge_method'"),
        ("merge_method: linear\n", "needs exactly one of models, slices and modules, it has none"),
        ("merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n" + MODEL, "exactly one of"),
        (
            "merge_method: linear\nmodels: [{model: a}, {model: b, parameters: {densty: 1}}]",
            r"unknown key 'densty' in conf: models\[1\].parameters; did you mean 'density'",
        ),
        ("merge_method: linear\nmodels: [{modle: a}]", r"'modle' in conf: models\[0\]; did you mean 'model'"),
        ("merge_method: linear\nmodels: [{model: a, parameters: {weight: [1, x]}}]", r"weight\[1\] should be a number"),
        ("merge_method: linear\nmodels: [{model: a, parameters: {weight: .nan}}]", "weight is nan"),
        (
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: [{filtr: x, value: 1}]}}]",
            "did you mean 'filter'",
        ),
        ("merge_method: linear\ndtype: bfloat17\n" + MODEL, "unknown dtype 'bfloat17' .* did you mean 'bfloat16'"),
        ("merge_method: linear\nmodels: []", "exactly one of"),
        ("merge_method: linear\nmodels: {model: a}", "models should be a non-empty list"),
        ("merge_method: linear\nmodels: [{model: a+b+c}]", "should be model or model"),
        ("merge_method: slerp\nslices: [{sources: [{model: a, layer_range: [3, 3]}]}]", "0 <= first < end"),
        (
            "merge_method: slerp\nslices:\n"
            "  - sources: [{model: a, layer_range: [0, 3]}, {model: b, layer_range: [0, 2]}]",
            r"slices\[0\] should take as many layers from every source, they give \[3, 2\]",
        ),
        ("merge_method: linear\nmodules: {text: {models: []}, vision: {models: []}}", "several modules"),
        ("merge_method: linear\ntokenizer_source: base\ntokenizer: {source: base}\n" + MODEL, "both tokenizer and"),
        ("merge_method: linear\ntokenizer: {pad_to_multiple_of: 0}\n" + MODEL, "positive whole number"),
        ("merge_method: linear\nmerge_method: ties\n" + MODEL, "line 2: the key 'merge_method' stands twice"),
        ("merge_method: [\n", "conf, line 2"),
        ("name: one\n---\nname: two\n", "2 YAML documents; multi-stage merges are not supported"),
        ("", "the document should be a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_place_in_one_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse_config(text, origin="conf")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RecipeError, match=r"cannot read nowhere.yml: No such file"):
        load_config("nowhere.yml")
