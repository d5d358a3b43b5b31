from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import species
import torch
from hypothesis import given
from hypothesis import strategies as st
from species import Changeable, Data, Everything, Letter, Mutate, Norm, Shade, double

import heredity as hd
from heredity.errors import NotAllowed, NotCanonical, OperatorChanged
from heredity.lab import canonical as canon
from heredity.lab.canonical import canonical, dumps, import_item, revive

plain = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.sampled_from([*Shade, *Letter])
plain |= st.floats(allow_nan=False)
data = st.builds(Data, path=plain, rows=st.integers(), scale=st.floats(allow_nan=False))
keys = st.text().filter(lambda key: not key.startswith("$"))
values = st.recursive(
    plain | data | st.just(double) | st.just(torch.bfloat16),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_a_value_comes_back_from_its_canonical_form(value: Any) -> None:
    form = canonical(value, "value")
    back = revive(form)
    assert back == value
    assert dumps(canonical(back, "value")) == dumps(form)  # also tells -0.0 from 0.0 and True from 1


@given(st.dictionaries(keys, plain, min_size=2))
def test_the_order_of_a_dictionary_does_not_matter(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert dumps(canonical(value, "value")) == dumps(canonical(turned, "value"))


def form_of(operator: hd.Operator) -> str:
    return dumps(canon.dataclass_form(operator, "Everything"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Everything(number=1), Everything(number=1.0)),
        (Everything(number=np.int64(1)), Everything(number=1.0)),
        (Everything(number=np.float64(0.1)), Everything(number=0.1)),
        (Everything(numbers=(1, 2)), Everything(numbers=(1.0, 2.0))),
        (Everything(named={"a": 1}), Everything(named={"a": 1.0})),
        (Everything(maybe=3), Everything(maybe=3.0)),
        (Everything(anything=[1, 2]), Everything(anything=(1, 2))),
        (Everything(anything=Data(scale=2)), Everything(anything=Data(scale=2.0))),
    ],
)
def test_the_same_configuration_has_one_form(one: Everything, other: Everything) -> None:
    assert form_of(one) == form_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Everything(anything=1), Everything(anything=1.0)),
        (Everything(anything=True), Everything(anything=1)),
        (Everything(anything="a"), Everything(anything=Letter.A)),
        (Everything(anything=Data()), Everything(anything=Data(rows=4))),
        (Everything(anything=(1, (2, 3))), Everything(anything=((1, 2), 3))),
        (Everything(anything=float("inf")), Everything(anything=float("-inf"))),
    ],
)
def test_another_configuration_has_another_form(one: Everything, other: Everything) -> None:
    assert form_of(one) != form_of(other)


def test_a_field_declared_as_a_list_comes_back_as_one() -> None:
    form = canon.dataclass_form(Everything(listed=[1, 2], numbers=(1.0,)), "Everything")
    assert revive(form) == Everything(listed=[1, 2], numbers=(1.0,))


@dataclasses.dataclass(frozen=True)
class Partly:
    asked: int
    batch: int = dataclasses.field(default=8, metadata={"identity": False})
    derived: int = dataclasses.field(init=False, default=0)


def test_fields_outside_the_identity_stay_outside() -> None:
    assert canon.dataclass_form(Partly(1, batch=2), "Partly")["fields"] == {"asked": 1}
    assert revive(canon.dataclass_form(Partly(1, batch=2), "Partly")) == Partly(1)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda x: x, "import path"),
        ({1, 2}, "sorted tuple"),
        (Path("data.npz"), "path"),
        (Changeable(), "frozen"),
        (math.nan, "NaN"),
        (object(), "object"),
        (torch.Generator(), "Generator"),
        (torch.nn.Linear(1, 1), "Linear"),
        ({1: 2}, "key 1"),
        ({"$type": 2}, r"\$type"),
        ("\ud800", "Unicode"),
        (np.array([object()]), "ndarray"),
    ],
)
def test_what_has_no_exact_form_is_refused_by_name(lab: hd.Lab, value: Any, named: str) -> None:
    with pytest.raises(NotCanonical, match=rf"Everything\.anything\[0\]\.path.*{named}"):
        lab.form(Everything(anything=(Data(path=value),)))


def test_an_operator_that_is_no_dataclass_is_refused() -> None:
    class Bare(Mutate):
        pass

    with pytest.raises(NotCanonical, match="decorate it"):
        canon.dataclass_form(Bare(), "Bare")


@dataclasses.dataclass(frozen=True)
class Fingerprinted:
    content: str = "a"

    def fingerprint(self) -> str:
        return contents[self.content]


contents = {"a": "first"}


def test_a_fingerprint_is_part_of_the_form_and_checked_on_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    form = canonical(Fingerprinted(), "data")
    assert revive(form) == Fingerprinted()
    monkeypatch.setitem(contents, "a", "second")
    assert canonical(Fingerprinted(), "data") != form
    with pytest.raises(NotCanonical, match="fingerprint"):
        revive(form)


def test_recorded_fields_that_no_longer_fit_are_said_so() -> None:
    form = {"$type": "species:Data", "fields": {"colour": 1}}
    with pytest.raises(NotCanonical, match="do not fit today's species:Data"):
        revive(form)


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "heredity.lab.lease:os.link",
        "heredity.lab.blobs:hashlib.sha256",
        "heredity.lab:nothing",
        "heredity:",
    ],
)
def test_a_record_cannot_name_code_that_an_allowed_module_does_not_define(path: str) -> None:
    with pytest.raises(NotAllowed):
        import_item(path)


def test_tensors_are_evidence(lab: hd.Lab) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    form = lab.form(Everything(anything=tensor))
    back = revive({"$type": form["type"], "fields": form["config"]}, lab.evidence.load)
    assert torch.equal(back.anything, tensor)
    assert lab.form(Everything(anything=tensor.clone())) == form
    assert lab.form(Everything(anything=tensor.numpy())) != form  # comes back as an array
    assert lab.form(Everything(anything=tensor.reshape(3, 2))) != form
    assert lab.form(Everything(anything=tensor.double())) != form
    tensor.numpy()[0, 0] = 7.0  # behind PyTorch's back
    assert lab.form(Everything(anything=tensor)) != form
    assert not np.shares_memory(back.anything.numpy(), lab.evidence.load(form["config"]["anything"]["$tensor"]).numpy())


def test_large_evidence_is_hashed_again_when_it_was_changed(lab: hd.Lab) -> None:
    tensor = torch.zeros(1 << 19)  # 2 MB
    form = lab.form(Everything(anything=tensor))
    assert lab.form(Everything(anything=tensor)) == form
    tensor[5] = 1.0
    assert lab.form(Everything(anything=tensor)) != form


def test_everything_that_can_change_the_child_changes_the_key(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (lab.add({"w": torch.full((2,), value)}) for value in (1.0, 2.0))
    asked = [
        lab.derive(Mutate(0.1), a),
        lab.derive(Mutate(0.1), a, seed=1),
        lab.derive(Mutate(0.2), a),
        lab.derive(Mutate(0.1), a, b),
        lab.derive(Mutate(0.1), b, a),
        lab.derive(Mutate(0.1), a, base=b),
        lab.derive(Mutate(0.1), a, teacher=b),
        lab.derive(species.Plant(torch.zeros(2))),
        lab.derive(species.Plant(torch.ones(2))),
    ]
    monkeypatch.setattr(Mutate, "version", 2)
    asked.append(lab.derive(Mutate(0.1), a))
    assert len({model.key for model in asked}) == len(asked)
    assert all(model.id == model.key[:16] for model in asked)


def test_other_source_of_an_operator_warns_once(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    a = lab.add({"w": torch.zeros(2)})
    children = [lab.derive(Mutate(), a, seed=seed) for seed in (1, 2)]
    monkeypatch.setattr("heredity.lab.lab.source_hash", lambda cls: "0" * 64)
    with pytest.warns(OperatorChanged, match="raise the operator's version") as caught:
        assert [lab.derive(Mutate(), a, seed=seed) for seed in (1, 2)] == children
    assert len(caught) == 1


def test_probes_have_keys_too(lab: hd.Lab) -> None:
    a = lab.add({"w": torch.zeros(2)})
    form = lab.form(Norm())
    assert lab.evaluation_key(form, a.id, 0) != lab.evaluation_key(form, a.id, 1)
