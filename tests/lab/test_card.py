"""Model cards: true about the lineage, valid for the hub, and unharmed by hostile names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import heredity as hd
from heredity.lab.card import base_models, code, hub_name, lineage, model_card, relation

MARKS = [
    "---\n",
    "\n---\n",
    "`",
    "``",
    "|",
    "<script>",
    "](javascript:x)",
    "\u2028",
    "\x85",
    "\r",
    ": ",
    "# ",
    "'",
    '"',
]


@dataclass(frozen=True)
class Mean(hd.Operator):
    weight: float = 0.5
    kind: ClassVar[str] = "merge"

    def apply(self, parents, context):
        first, second = parents[0].weights(), parents[1].weights()
        return {name: first[name] * self.weight + second[name] * (1 - self.weight) for name in first}


@dataclass(frozen=True)
class Add(hd.Operator):
    amount: float = 1.0

    def apply(self, parents, context):
        return {name: tensor + self.amount for name, tensor in parents[0].weights().items()}


@dataclass(frozen=True)
class Total(hd.Probe):
    fail: bool = False

    def measure(self, model, context):
        if self.fail:
            raise hd.errors.EvaluationFailed("no | data `here`")
        return {"total": sum(float(tensor.sum()) for tensor in model.weights().values())}


@pytest.fixture
def lab(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab:
        yield lab


def front(text: str) -> dict:
    """The block that the hub reads: between the first two lines of dashes."""
    assert text.startswith("---\n")
    return yaml.safe_load(re.match(r"---\n([\S\s]*?)\n---(\r\n|\r|\n|$)", text)[1])


def leaf(lab, value: float, **labels):
    return lab.add({"w": torch.full((2,), value)}, labels=labels)


def adapter(lab, value: float, *, base=None, **labels):
    folder = lab.path.parent / f"adapter-{value}"
    folder.mkdir()
    save_file({"lora": torch.full((2,), value)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    return lab.add(folder, labels=labels, **({"base": base} if base is not None else {}))


# Base models


def test_the_nearest_ancestors_with_a_hub_name_are_found_past_local_ones(lab):
    a, b = leaf(lab, 1, hub="org/a"), leaf(lab, 2, hub="org/b")
    local = lab.derive(Add(), a)
    further = lab.derive(Add(2.0), local)
    merged = lab.derive(Mean(), further, b)
    assert (base_models(local), relation(local, ["org/a"])) == (["org/a"], "finetune")
    assert base_models(merged) == ["org/a", "org/b"] or base_models(merged) == ["org/b", "org/a"]
    assert front(model_card(merged))["base_model_relation"] == "merge"
    # A finetune of a merge comes from both; the hub has no word but merge for that.
    assert front(model_card(lab.derive(Add(), merged)))["base_model_relation"] == "merge"


def test_a_hub_ancestor_hides_what_it_descends_from(lab):
    a = leaf(lab, 1, hub="org/a")
    published = lab.derive(Add(), a, labels={"hub": "org/tuned"})
    assert base_models(lab.derive(Add(), published)) == ["org/tuned"]


def test_two_finetunes_of_one_base_name_it_once(lab):
    a = leaf(lab, 1, hub="org/a")
    merged = lab.derive(Mean(), lab.derive(Add(1.0), a), lab.derive(Add(2.0), a))
    card = front(model_card(merged))
    assert (card["base_model"], card["base_model_relation"]) == ("org/a", "merge")


def test_nothing_is_invented(lab):
    for labels in ({}, {"source": "runs/best"}, {"source": "/home/me/org/a"}, {"hub": "not a name"}, {"hub": 3}):
        child = lab.derive(Add(), leaf(lab, hash(str(labels)) % 1000, **labels))
        card = front(model_card(child))
        assert "base_model" not in card
        assert "base_model_relation" not in card


@pytest.mark.parametrize("source", ["hf://org/a", "hf://org/a@main", "https://huggingface.co/org/a/tree/main"])
def test_a_source_with_a_scheme_is_a_hub_name(lab, source):
    assert hub_name(leaf(lab, 1, source=source)) == "org/a"


def test_a_teacher_is_no_base_but_stands_in_the_lineage(lab):
    student, teacher = leaf(lab, 1, hub="org/student"), leaf(lab, 2, hub="org/teacher")
    child = lab.derive(Add(), student, teacher=teacher)
    assert base_models(child) == ["org/student"]
    assert [(parent["role"], parent.get("hub")) for parent in lineage(child)["parents"]] == [
        ("parent", "org/student"),
        ("teacher", "org/teacher"),
    ]


def test_a_copy_from_the_hub_names_it_without_a_relation(lab):
    card = front(model_card(leaf(lab, 1, hub="org/a", revision="abc")))
    assert card["base_model"] == "org/a"
    assert "base_model_relation" not in card


def test_an_adapter_names_the_model_it_sits_on(lab):
    base = lab.derive(Add(), leaf(lab, 1, hub="org/a"))
    card = front(model_card(adapter(lab, 1, base=base)))
    assert (card["base_model"], card["base_model_relation"], card["library_name"]) == ("org/a", "adapter", "peft")
    with lab.step("tune", parents=[adapter(lab, 2, base=base, hub="org/lora")]) as step:
        child = step.commit({"lora": torch.zeros(2)})
    assert front(model_card(child))["base_model"] == "org/a"


def test_base_models_are_remembered_through_a_file_from_another_lab(lab):
    told = {"heredity": 1, "base_models": ["org/a", "not a name"], "path": [], "parents": []}
    assert base_models(lab.derive(Add(), leaf(lab, 1, lineage=told))) == ["org/a"]


# The whole card


def test_the_front_matter_tells_the_whole_truth(lab):
    root = leaf(lab, 1, hub="org/a")
    child = lab.derive(Add(), root, seed=3, name="winner")
    lab.measure(Total(), child)
    card = front(model_card(child))
    assert card["tags"] == ["heredity", "train", "finetune"]
    assert card["library_name"] == "heredity"
    assert card["metrics"] == ["total"]
    told = card["lineage"]
    assert (told["id"], told["key"], told["seed"]) == (child.id, child.key, 3)
    assert told["weights_sha256"] == child.weights_sha256
    assert told["operator"] == child.operator
    assert told["path"] == [root.id, child.id]
    # Two weights of 1, plus 1 each: 4.
    assert told["measurements"] == {"Total": {"total": 4.0}}


def test_the_text_tells_story_measurements_loading_and_rebuilding(lab):
    root = leaf(lab, 1, hub="org/a", revision="abc")
    lab.name(root, "ancestor")
    child = lab.derive(Add(), root, name="winner")
    lab.measure(Total(), child)
    lab.measure(Total(fail=True), root)
    text = model_card(child)
    assert "\n# winner\n" in text
    assert f"1. `ancestor`, `{root.id}`: recorded as it came from [org/a](https://huggingface.co/org/a)" in text
    assert f"2. `winner`, `{child.id}`: `Add`" in text
    assert '`{"amount": 1.0}`' in text
    assert "| `Total` | `total` | 4 |" in text
    assert f'.rebuild("{child.id}")' in text
    root_text = model_card(root)
    assert r"| `Total` | failed | `` no \| data `here` `` |" in root_text
    assert ".rebuild(" not in root_text


def test_a_long_path_is_told_in_part_and_kept_whole_in_the_front_matter(lab):
    model = leaf(lab, 0)
    for _ in range(60):
        with lab.step("add", parents=[model]) as step:
            model = step.commit({"w": model.weights()["w"] + 1})
    text = model_card(model)
    assert len(front(text)["lineage"]["path"]) == 61
    # 61 births, 40 of them told.
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) == 40
    assert "21 births more" in text


def test_the_card_is_valid_for_the_hub(lab):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    a, b = leaf(lab, 1, hub="org/a"), leaf(lab, 2, hub="org/b")
    for model in (a, lab.derive(Mean(), a, b), leaf(lab, 7)):
        card = huggingface_hub.ModelCard(model_card(model))
        assert card.data.library_name == "heredity"
        assert card.data.lineage["id"] == model.id
        assert card.text.lstrip().startswith("# ")


hostile = st.lists(st.sampled_from(MARKS) | st.text(max_size=5), min_size=1, max_size=6).map("".join)


@settings(max_examples=30, deadline=None)
@given(name=hostile, note=hostile)
def test_hostile_names_and_labels_stay_text(tmp_path_factory, name, note):
    with hd.Lab(tmp_path_factory.mktemp("lab") / "lab") as lab:
        root = leaf(lab, 1, hub=note)
        with lab.step(f"x{name}", parents=[root], config={"note": note}) as step:
            child = step.commit({"w": torch.zeros(2)})
        text = model_card(child)
    card = front(text)
    assert card["lineage"]["operator"]["config"]["name"] == f"x{name}"
    assert card["lineage"]["operator"]["config"]["config"] == {"note": note}
    body = text.split("\n---\n", 1)[1]
    # Every line starts with what the card itself writes, so no text became a heading, a rule or a row.
    ours = r"(#{1,2} |\d+\. |\||```|import |from |copy = |assert |hd\.|[A-Z]|$)"
    assert all(re.match(ours, line) for line in body.split("\n"))
    assert "<script>" not in re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", body)


@given(hostile)
def test_a_code_span_is_one_line_that_no_backtick_in_it_ends(text):
    span = code(text)
    assert span.isprintable()
    fence = re.match("`+", span)[0]
    inside = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert not inside.startswith("`")
    assert not inside.endswith("`")
    assert fence not in re.findall("`+", inside)
    assert not re.search(r"(?<!\\)\|", span)
