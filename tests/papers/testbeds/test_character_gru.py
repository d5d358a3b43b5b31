import math

import pytest
import torch
from torch import nn

from heredity.papers.testbeds.character_gru import VOCABULARY, bits, chosen, initial, losses, train, weights_of

WIDTH, CONTEXT = 6, 9


def text(n=400):
    return torch.randint(VOCABULARY, (n,), generator=torch.Generator().manual_seed(3))


def hyper(rows):
    names = ("weight_decay", "dropout", "clip")
    return {name: torch.tensor([row[k] for row in rows]) for k, name in enumerate(names)}


def torch_twin(stack, place):
    """The same network of torch's own parts; torch orders its gates alike (reset, update, new) and transposes."""
    gru, head = nn.GRU(WIDTH, WIDTH, batch_first=True), nn.Linear(WIDTH, VOCABULARY)
    embedding = nn.Embedding(VOCABULARY, WIDTH)
    w = {name: tensor[place] for name, tensor in weights_of(stack).items()}
    with torch.no_grad():
        embedding.weight.copy_(w["embedding"])
        gru.weight_ih_l0.copy_(w["input"].T)
        gru.weight_hh_l0.copy_(w["hidden"].T)
        gru.bias_ih_l0.copy_(w["input_bias"])
        gru.bias_hh_l0.copy_(w["hidden_bias"])
        head.weight.copy_(w["output"].T)
        head.bias.copy_(w["output_bias"])
    return nn.ModuleList([embedding, gru, head])


def twin_loss(twin, rows):
    embedding, gru, head = twin
    logits = head(gru(embedding(rows[:, :-1]))[0])
    return nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def test_it_is_torchs_gru():
    stack = initial([1, 2], WIDTH)
    rows = text()[: 5 * (CONTEXT + 1)].view(1, 5, CONTEXT + 1).expand(2, -1, -1)
    found = losses(weights_of(stack), rows)
    for place in (0, 1):
        assert found[place].item() == pytest.approx(twin_loss(torch_twin(stack, place), rows[place]).item(), rel=1e-5)


def test_training_is_torchs_adamw_with_clipped_gradients():
    stack = initial([4], WIDTH)
    twin = torch_twin(stack, 0)
    optimiser = torch.optim.AdamW(twin.parameters(), lr=0.02, weight_decay=0.3)
    data, generator = text(), torch.Generator().manual_seed(7)
    starts = torch.randint(len(data) - CONTEXT, (5, 3), generator=generator)
    for step in range(5):
        optimiser.zero_grad()
        twin_loss(twin, data[starts[step][:, None] + torch.arange(CONTEXT + 1)]).backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 0.05)
        optimiser.step()
    train(stack, data, torch.full((5, 1), 0.02), hyper([(0.3, 0.0, 0.05)]), [7], batch=3, context=CONTEXT)
    after = torch_twin(stack, 0)
    for ours, theirs in zip(after.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_network_does_not_depend_on_the_others():
    rows = [(0.1, 0.3, 1.0), (0.5, 0.1, 0.2), (0.0, 0.0, 5.0)]
    rates = torch.tensor([[0.01, 0.02, 0.03]]).expand(4, -1)
    together = initial([1, 2, 3], WIDTH)
    train(together, text(), rates, hyper(rows), [11, 12, 13], batch=3, context=CONTEXT)
    alone = initial([2], WIDTH)
    train(alone, text(), rates[:, 1:2], hyper(rows[1:2]), [12], batch=3, context=CONTEXT)
    for name, tensor in chosen(together, [1]).items():
        torch.testing.assert_close(tensor, alone[name], rtol=1e-5, atol=1e-6)


def test_a_network_that_diverged_stays_by_itself():
    stack = initial([1, 2], WIDTH)
    stack["output"][0] = math.nan
    train(stack, text(), torch.full((2, 2), 0.01), hyper([(0.1, 0.1, 1.0)] * 2), [1, 2], batch=3, context=CONTEXT)
    found = bits(stack, text(), context=CONTEXT)
    assert math.isnan(found[0]) and math.isfinite(found[1])


def test_bits_of_an_ignorant_network_are_those_of_chance():
    stack = initial([1], WIDTH)
    stack["output"].zero_()
    stack["output_bias"].zero_()
    assert bits(stack, text(), context=CONTEXT).item() == pytest.approx(math.log2(VOCABULARY), rel=1e-6)
