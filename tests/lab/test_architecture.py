from __future__ import annotations

from typing import Any

import pytest
import torch
from species import Data, Mutate, Net
from torch import Tensor, nn

import heredity as hd
from heredity.errors import LabError, NotAllowed, NotCanonical, WeightsMissing
from heredity.lab.architecture import describe


@hd.architecture
class Tied(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, width)
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("mask", torch.ones(width), persistent=False)


@hd.architecture
class Wide(Net):
    def __init__(self, factor: int, *, data: Data = Data(), **extra: Any) -> None:  # noqa: B008 - frozen
        self.given = {"factor": factor, **extra}
        super().__init__(4 * factor)


class Plain(Net):
    """A subclass that says nothing about itself."""


@hd.architecture
def stack(*, depth: int, width: int = 2) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)))


def stacked(depth: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(depth)))


@pytest.mark.parametrize(
    "module",
    [Net(6), Net(width=6, dropout=0.5), Tied(), Wide(2, data=Data(rows=7), colour="red"), stack(depth=3)],
    ids=["positional", "keywords", "tied", "extra", "factory"],
)
def test_a_module_is_built_again_as_it_was(lab: hd.Lab, module: nn.Module) -> None:
    state = torch.random.get_rng_state()
    built = lab.add(module).load()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(built) is type(module)
    assert not built.training
    assert built.state_dict().keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        assert torch.equal(built.state_dict()[name], tensor)
    assert describe(built) == describe(module)


def test_defaults_are_part_of_the_architecture(lab: hd.Lab) -> None:
    assert lab.add(Net()).architecture == {
        "kind": "class",
        "path": "species:Net",
        "config": {"width": 8, "dropout": 0.25, "classes": 3},
    }
    wide = lab.add(Wide(2, colour="red")).architecture
    assert wide is not None
    assert wide["config"]["colour"] == "red"
    assert lab.add(Wide(2)).load().given == {"factor": 2}


def test_tied_tensors_are_stored_once_and_stay_tied(lab: hd.Lab) -> None:
    module = Tied()
    model = lab.add(module)
    assert set(model.weights()) == set(module.state_dict()) - {"head.weight"}
    child = lab.derive(Mutate(), lab.derive(Mutate(0.0), model)).load()
    assert child.head.weight is child.embed.weight
    assert child.mask.tolist() == [1.0] * 4
    # A whole state dict, tied or in copies, is the same child.
    with lab.step("copies", parents=[model]) as step:
        one = step.commit({name: tensor.clone() for name, tensor in module.state_dict().items()})
        assert step.commit(dict(module.state_dict())) == one
    assert one.weights_sha256 == model.weights_sha256


def test_values_that_happen_to_share_memory_are_not_tied(lab: hd.Lab) -> None:
    shared = torch.zeros(2, 2)
    state = {f"{n}.{part}": shared if part == "weight" else torch.zeros(2) for n in "01" for part in ("weight", "bias")}
    model = lab.add(state, architecture=hd.Architecture(stacked, {"depth": 2}))
    child = lab.derive(Mutate(), model)
    assert set(child.weights()) == set(state)
    built = child.load()
    assert not torch.equal(built[0].weight, built[1].weight)
    views = torch.arange(8.0)
    both = lab.add({"all": views, "half": views[:4]}).weights()
    assert (both["all"].tolist(), both["half"].tolist()) == ([*map(float, range(8))], [0.0, 1.0, 2.0, 3.0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes_are_kept(lab: hd.Lab, dtype: torch.dtype) -> None:
    built = lab.add(Tied().to(dtype)).load()
    assert {tensor.dtype for name, tensor in built.state_dict().items() if "num_batches" not in name} == {dtype}
    assert built.norm.num_batches_tracked.dtype == torch.int64
    assert built.head.weight is built.embed.weight


def test_loading_into_a_module(lab: hd.Lab) -> None:
    model = lab.add(Net(4).state_dict())
    assert model.architecture is None
    with pytest.raises(WeightsMissing, match=r"load\(into=your_module\)"):
        model.load()
    mine = Plain(4)
    assert model.load(into=mine) is mine
    assert torch.equal(mine.inner.weight, model.weights()["inner.weight"])
    for wrong, match in [
        (Net(5), "do not fit Net.*size mismatch"),
        (nn.Linear(2, 2), "do not fit Linear: the record lacks 'weight'"),
        (Tied(), "do not fit Tied"),
    ]:
        with pytest.raises(LabError, match=match):
            model.load(into=wrong)
    tied = lab.add(Tied().state_dict())
    assert "head.weight" in tied.weights()
    assert tied.load(into=Tied()).head.weight.shape == (5, 4)


def test_an_undecorated_class_is_recorded_without_architecture(lab: hd.Lab) -> None:
    assert lab.add(Plain(4)).architecture is None
    given = lab.add(Plain(4), architecture=hd.Architecture(Net, {"width": 4}))
    assert type(given.load()) is Net


def test_an_architecture_given_for_a_module_keeps_its_ties(lab: hd.Lab) -> None:
    class Own(Tied):
        pass

    model = lab.add(Own(), architecture=hd.Architecture(Tied, {"width": 4}))
    built = model.load()
    assert built.head.weight is built.embed.weight


def test_arguments_must_have_names_and_a_form() -> None:
    @hd.architecture
    class Many(nn.Module):
        def __init__(self, *sizes: int) -> None:
            super().__init__()

    with pytest.raises(TypeError, match=r"\*sizes"):
        Many(1, 2)
    with pytest.raises(NotCanonical, match=r":Wide\['thing'\] is builtins\.object"):
        describe(Wide(2, thing=object()))


@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        ({"path": "os:system", "config": {"command": "true"}}, NotAllowed, "allow-list"),
        ({"path": "heredity.lab.lab:Lab", "config": {}}, NotAllowed, "builds no module"),
        ({"path": "heredity.lab.lease:start_mark", "config": {"pid": 1}}, NotAllowed, "builds no module"),
        ({"path": "species:double", "config": {"x": 1.0}}, LabError, "returned float"),
        ({"path": "species:Net", "config": {"wings": 2}}, LabError, "cannot be built"),
        ({"kind": "onnx"}, LabError, "unknown architecture kind 'onnx'"),
    ],
)
def test_a_record_builds_modules_and_nothing_else(
    lab: hd.Lab, spec: dict[str, Any], error: type[Exception], match: str
) -> None:
    model = lab.add({"w": torch.zeros(1)})
    model._architecture = {"kind": "class", **spec}
    with pytest.raises(error, match=match):
        model.load()


def test_state_that_is_no_tensor_is_named(lab: hd.Lab) -> None:
    class Extra(nn.Module):
        def get_extra_state(self) -> dict[str, int]:
            return {"count": 1}

        def set_extra_state(self, state: object) -> None: ...

    with pytest.raises(LabError, match=r"Extra has a dict under '_extra_state'"):
        lab.add(Extra())
    with pytest.raises(LabError, match="cannot add list"):
        lab.add([1])  # type: ignore[arg-type]
    with pytest.raises(LabError, match="sparse"):
        lab.add({"w": torch.eye(3).to_sparse()})
    with pytest.raises(LabError, match="holds no tensors"):
        lab.add({})


def test_every_kind_of_tensor_comes_back(lab: hd.Lab) -> None:
    state: dict[str, Tensor] = {
        str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
        for dtype in (torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float64)
    }
    state |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "turned": torch.arange(6.0).reshape(2, 3).T}
    weights = lab.add(state).weights()
    for name, tensor in state.items():
        assert weights[name].dtype == tensor.dtype
        assert weights[name].shape == tensor.shape
        assert torch.equal(weights[name], tensor)
