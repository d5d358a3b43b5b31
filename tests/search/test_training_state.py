import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from heredity.search.training_state import (
    HyperparameterLost,
    Training,
    apply_hyper,
    check_applied,
    load_training,
    not_finite,
    pack,
    read_hyper,
    save_training,
    unpack,
)


def training(lr=0.1, make_scheduler=None, **settings):
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, **settings)
    found = Training(module, optimizer, make_scheduler(optimizer) if make_scheduler else None)
    advance(found)
    return found


def advance(one):
    one.optimizer.zero_grad()
    one.module(torch.ones(4, 3)).square().mean().backward()
    one.optimizer.step()
    if one.scheduler is not None:
        one.scheduler.step()


SCHEDULERS = {
    "none": (None, lambda k: 1.0),
    "lambda": (lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / (1 + k)), lambda k: 1 / (1 + k)),
    "cosine": (lambda o: lr_scheduler.CosineAnnealingLR(o, 10), lambda k: (1 + math.cos(math.pi * k / 10)) / 2),
    "step": (lambda o: lr_scheduler.StepLR(o, 2, 0.5), lambda k: 0.5 ** (k // 2)),
    "sequence": (
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o, 0.5, 100), lr_scheduler.ExponentialLR(o, 0.9)], [3]
        ),
        lambda k: 0.5 if k < 3 else 0.9 ** (k - 3),
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_new_rate_scales_the_whole_schedule(name):
    scheduler, factor = SCHEDULERS[name]
    one = training(0.1, scheduler)
    apply_hyper(one, {"lr": 0.03, "weight_decay": 0.5, "dropout": 0.1})
    assert read_hyper(one)["lr"] == 0.03 and read_hyper(one)["weight_decay"] == 0.5
    for k in range(1, 6):
        assert one.optimizer.param_groups[0]["lr"] == pytest.approx(0.03 * factor(k), rel=1e-9)
        advance(one)


def test_a_rate_that_is_a_tensor_stays_one():
    one = training(torch.tensor(0.1))
    apply_hyper(one, {"lr": 0.03})
    check_applied({"lr": 0.03}, read_hyper(one), "here")
    assert isinstance(one.optimizer.param_groups[0]["lr"], torch.Tensor)


def test_a_rate_that_load_brought_back_is_found():
    one, other = training(0.1), training(0.02)
    load_training(one, save_training(other))
    with pytest.raises(HyperparameterLost, match=r"here: lr should be 0.1 and is 0.02"):
        check_applied({"lr": 0.1}, read_hyper(one), "here")


def test_a_scheduler_that_brings_its_old_base_back_is_found():
    one = training(0.1, SCHEDULERS["lambda"][0])
    apply_hyper(one, {"lr": 0.03})
    one.scheduler.base_lrs = [0.1]
    with pytest.raises(HyperparameterLost):
        check_applied({"lr": 0.03}, read_hyper(one), "here")


def test_what_cannot_be_applied_alike_is_refused():
    module = nn.Linear(3, 2)
    groups = [{"params": [module.weight], "lr": 0.1}, {"params": [module.bias], "lr": 0.2}]
    with pytest.raises(ValueError, match="groups differ in 'lr'"):
        apply_hyper(Training(module, torch.optim.SGD(groups)), {"lr": 0.3})
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    cycle = lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=9)
    with pytest.raises(ValueError, match="OneCycleLR"):
        apply_hyper(Training(module, optimizer, cycle), {"lr": 0.3})


def test_two_that_load_one_state_do_not_share_it():
    donor, one, two = training(), training(), training()
    state = save_training(donor)
    before = [tensor.clone() for tensor in pack(state)[0].values()]
    load_training(one, state)
    load_training(two, state)
    advance(one)
    assert all(torch.equal(a, b) for a, b in zip(before, pack(state)[0].values(), strict=True))
    moments = [next(iter(t.optimizer.state.values()))["exp_avg"] for t in (one, two, donor)]
    assert not torch.equal(moments[0], moments[1]) and torch.equal(moments[1], moments[2])


def test_a_state_is_packed_and_unpacked_exactly():
    state = {"a": {0: torch.ones(2), "x": (1, 2.5, math.inf)}, "b": [None, True, "t", []], "c": -math.inf}
    tensors, form = pack(state)
    again = unpack(tensors, form)
    assert torch.equal(again["a"].pop(0), state["a"].pop(0)) and again == state
    assert math.isnan(unpack(*pack({"x": math.nan}))["x"])
    with pytest.raises(TypeError, match=r"state\.a\[1\] is object"):
        pack({"a": [1, object()]})


def test_nan_is_named():
    assert not_finite({"a": torch.ones(2), "b": [torch.tensor([1.0, math.nan])]}) == "b.0"
    assert not_finite({"mask": torch.tensor([-math.inf])}) is None
