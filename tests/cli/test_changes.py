"""Configurations as people read them."""

from __future__ import annotations

from heredity.cli.changes import differences, settings, title, what_changed


def birth(config: dict, type_path: str = "ops:Train", seed: int = 0, labels: dict | None = None) -> dict:
    form = {"type": type_path, "version": 1, "config": config}
    return {"operator": form, "seed": seed, "labels": labels or {}}


def test_nested_and_tagged_values_become_flat_and_short():
    config = {
        "data": {"$type": "sets:Digits", "fields": {"split": "train", "images": {"$tensor": "ab" * 32}}},
        "dtype": {"$dtype": "float16"},
        "loss": {"$code": "torch.nn.functional:cross_entropy"},
        "mode": {"$enum": "ops:Mode", "name": "FAST"},
        "top": {"$float": "inf"},
        "key": {"$bytes": "00ff"},
        "sizes": [1, 2],
        "layers": [{"$type": "ops:Layer", "fields": {"width": 3}}],
        "options": {},
        "on": True,
    }
    assert settings(birth(config)) == {
        "data": "Digits", "data.split": "train", "data.images": "tensor abababab", "dtype": "float16",
        "loss": "cross_entropy", "mode": "FAST", "top": "inf", "key": "2 bytes", "sizes": "[1, 2]",
        "layers[0]": "Layer", "layers[0].width": 3, "options": "{}", "on": True,
    }  # fmt: skip


def test_a_configuration_nested_thousands_deep_is_read():
    config: dict = {"x": 1}
    for _ in range(5000):
        config = {"a": config}
    assert list(settings(birth(config)).values()) == [1]


def test_only_differences_from_the_same_operator_are_said():
    parent = birth({"lr": 0.1, "epochs": 3})
    assert what_changed(birth({"lr": 0.2, "epochs": 3}), parent) == "lr 0.1→0.2"
    assert what_changed(birth({"lr": 0.1, "epochs": 3}, seed=4), parent) == "seed 4"
    assert what_changed(birth({"lr": 0.1, "epochs": 3}), parent) == ""
    assert what_changed(birth({"lr": 0.1}, "ops:Tune"), parent) == "lr=0.1"
    assert what_changed(birth({"lr": 0.1}), None) == "lr=0.1"


def test_steps_and_models_from_outside():
    step = birth({"name": "my finetune", "config": {"lr": 1}, "weights": "ff"}, "heredity.lab.steps:Step")
    assert title(step) == "my finetune" and settings(step) == {"lr": 1}
    other = birth({"name": "another", "config": {"lr": 2}, "weights": "ff"}, "heredity.lab.steps:Step")
    assert what_changed(other, step) == "lr=2"  # two steps of different names are different operators
    added = birth({"weights": "ff"}, "heredity.lab.steps:Import", labels={"source": "./llama"})
    assert title(added) == "added" and what_changed(added, None) == "source=./llama"


def test_settings_on_one_side_only():
    found = differences({"a": 1, "b": 2}, {"b": 3, "c": 4})
    assert [item.as_json() for item in found] == [
        {"key": "b", "before": 2, "after": 3},
        {"key": "c", "before": None, "after": 4},
        {"key": "a", "before": 1, "after": None},
    ]
