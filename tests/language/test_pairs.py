import pytest
import torch
from torch import nn

from heredity.language.pairs import AttentiveLSTM, PairClassifier


def made(seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PairClassifier(nn.Embedding(20, 6), hidden=5, **options)


def ids(*rows):
    return torch.tensor(rows)


def test_attention_sums_to_one_over_tokens_and_is_zero_on_padding():
    generator = torch.Generator().manual_seed(1)
    reader = AttentiveLSTM(4, 3)
    x = torch.randn(3, 7, 4, generator=generator)
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    summary, alpha = reader(x, mask)
    assert summary.shape == (3, 3)
    assert torch.allclose(alpha.sum(1), torch.ones(3)) and (alpha[~mask] == 0).all()
    # One token gets all attention: its state is the summary.
    assert torch.allclose(summary[2], reader.lstm(x)[0][2, 0])


def test_what_stands_in_the_padding_changes_nothing():
    model = PairClassifier(None, hidden=5, dim=4)
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 6, 4, generator=generator), torch.randn(2, 6, 4, generator=generator)
    mask = torch.arange(6) < torch.tensor([[3], [5]])
    changed = a.clone()
    changed[0, 3:] = a[0, torch.tensor([5, 3, 4])]
    assert torch.equal(model(a, b, mask, mask), model(changed, b, mask, mask))
    changed[0, 0] += 1.0
    assert not torch.equal(model(a, b, mask, mask)[0], model(changed, b, mask, mask)[0])


def test_a_tied_model_of_differences_is_symmetric_and_others_are_not():
    a, b = ids([3, 4, 5, 0], [7, 8, 0, 0]), ids([9, 2, 0, 0], [7, 1, 3, 4])
    symmetric = made(tied=True, features=("absdiff",))
    assert torch.equal(symmetric(a, b), symmetric(b, a))
    # A text and itself have no difference: all such pairs have one logit.
    assert torch.allclose(symmetric(a, a), symmetric(b, b))
    untied = made(features=("absdiff",))
    assert not torch.allclose(untied(a, b), untied(b, a))


def test_tying_halves_the_readers():
    count = {tied: sum(p.numel() for p in made(tied=tied).parameters()) for tied in (True, False)}
    # One reader: LSTM 4·5·(6 + 5 + 2) = 260, attention 5·5 + 5 + 5 = 35.
    assert count[False] - count[True] == 295


def test_an_encoder_of_transformers_is_read_by_its_last_states():
    class Answer:
        def __init__(self, states):
            self.last_hidden_state = states

    class Encoder(nn.Module):
        def forward(self, tokens):
            return Answer(nn.functional.one_hot(tokens, 20).float())

    logits = PairClassifier(Encoder(), hidden=5, dim=20)(ids([3, 4, 0]), ids([5, 6, 7]))
    assert logits.shape == (1,) and torch.isfinite(logits).all()


def test_bad_input_is_named():
    model = made()
    with pytest.raises(ValueError, match="sequence 1 begins without"):
        model(ids([1, 2], [0, 0]), ids([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="follows padding"):
        model(ids([1, 0, 2]), ids([1, 2, 0]))
    with pytest.raises(ValueError, match="mask"):
        PairClassifier(None, dim=3)(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="pass dim"):
        PairClassifier(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="features"):
        made(features=("product",))
