import copy

import pytest
import torch
from torch import nn

from heredity.inheritance.lora import (
    LoRALinear,
    activate,
    add_slot,
    attach_lora,
    batched_lora,
    from_peft,
    load_slot,
    lora_layers,
    merge_slots,
    slot_state_dict,
    to_peft,
)

X = torch.linspace(-1, 1, 20).view(4, 5)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def trained(seed: int = 0, slots: tuple[str, ...] = ("a", "b")) -> nn.Module:
    model = attach_lora(net(), rank=2)
    generator = torch.Generator().manual_seed(seed)
    for slot in slots:
        for parameter in add_slot(model, slot, seed=seed):
            parameter.data.normal_(generator=generator)
    return model


def test_nothing_active_or_just_added_is_the_base_bit_for_bit():
    expected = net()(X)
    model = attach_lora(net(), rank=2)
    assert torch.equal(model(X), expected)
    add_slot(model, "new")
    with activate(model, {"new": 1.0}):
        assert torch.equal(model(X), expected)
    assert torch.equal(trained()(X), expected)


def test_slots_add_up_and_merging_says_the_same():
    model, weights = trained(), {"a": 0.5, "b": -2.0}
    with activate(model, weights):
        found = model(X)
    base = net()
    with torch.no_grad():
        for name, layer in lora_layers(model):
            dense = sum(w * layer.up[s] @ layer.down[s] for s, w in weights.items())
            base.get_submodule(name).weight += dense
    assert torch.allclose(found, base(X), atol=1e-5)
    merged = merge_slots(copy.deepcopy(model), weights)
    assert not list(lora_layers(merged))
    assert torch.allclose(found, merged(X), atol=1e-5)


def test_weights_per_sample():
    layer = dict(lora_layers(trained()))["0"]
    weights = torch.tensor([0.0, 1.0, 2.0, -1.0])
    together = layer(X, {"a": weights})
    for i, weight in enumerate(weights.tolist()):
        assert torch.allclose(together[i], layer(X[i : i + 1], {"a": weight})[0], atol=1e-6)
    tokens = X.view(2, 2, 5)
    assert torch.allclose(layer(tokens, {"a": weights[:2]})[1], layer(tokens[1:], {"a": 1.0})[0], atol=1e-6)


def test_training_a_slot_moves_nothing_else():
    model = trained(slots=("a",))
    before = copy.deepcopy(model.state_dict())
    parameters = add_slot(model, "b", seed=1)
    with activate(model, {"a": 1.0, "b": 1.0}):
        model(X).square().sum().backward()
    assert all(p.grad is not None for p in parameters[1::2])
    assert all(layer.base.weight.grad is None for _, layer in lora_layers(model))
    torch.optim.SGD(parameters, 0.1).step()
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    with activate(model, {"b": 1.0}):
        assert not torch.equal(model(X), net()(X))
    for _, layer in lora_layers(model):
        layer.remove_slot("b")
    assert model.state_dict().keys() == before.keys()


def test_factors_travel():
    model = trained()
    state = slot_state_dict(model, "a")
    assert set(state) == {"0.lora_A", "0.lora_B", "2.lora_A", "2.lora_B"}
    other = attach_lora(net(), rank=7)
    load_slot(other, "mine", from_peft(to_peft(state)))
    with activate(model, {"a": 1.0}), activate(other, {"mine": 1.0}):
        assert torch.equal(model(X), other(X))
    with pytest.raises(ValueError, match=r"0\.lora_A is missing"):
        load_slot(other, "x", {k: v for k, v in state.items() if k != "0.lora_A"})
    with pytest.raises(ValueError, match="do not fit the layer"):
        load_slot(other, "x", state | {"2.lora_B": torch.zeros(9, 2)})


def test_peft_computes_the_same():
    peft = pytest.importorskip("peft")
    state = slot_state_dict(trained(), "a")
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["0", "2"])
    wrapped = peft.get_peft_model(net(), config)
    peft.set_peft_model_state_dict(wrapped, to_peft(state))
    model = trained()
    with activate(model, {"a": 1.0}):
        assert torch.allclose(model(X), wrapped(X), atol=1e-6)
    back = from_peft(peft.get_peft_model_state_dict(wrapped))
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_one_adapter_per_sample_in_one_product():
    g = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(3, *s, generator=g) for s in ((2, 5), (5, 2), (2, 4)))
    found = batched_lora(x, a, b, scale=2.0)
    assert torch.allclose(found[1], 2 * x[1] @ a[1] @ b[1], atol=1e-5)


def test_same_seed_same_slot_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    one, two = (attach_lora(net(), 2) for _ in range(2))
    torch.set_rng_state(state)
    add_slot(one, "a", seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    add_slot(two, "a", seed=3)
    a, b = slot_state_dict(one, "a"), slot_state_dict(two, "a")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_what_does_not_exist_is_named():
    model = trained()
    with pytest.raises(ValueError, match="no slot 'c'; known: a, b"), activate(model, {"c": 1.0}):
        pass
    with pytest.raises(ValueError, match="exists already"):
        add_slot(model, "a")
    with pytest.raises(ValueError, match="no linear layer is meant"):
        attach_lora(net(), targets="decoder.*")
    with pytest.raises(ValueError, match="attach_lora first"):
        slot_state_dict(net(), "a")
    with pytest.raises(ValueError, match="rank of at least 1"):
        LoRALinear(nn.Linear(2, 2), 0)
