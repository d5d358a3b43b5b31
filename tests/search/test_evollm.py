import numpy as np
import pytest
import torch
from torch import nn

from heredity.search.box import Box
from heredity.search.evollm import EvoLLM, RepeatBest, answer_loss, blocks, fine_tune, kept, teacher_traces
from heredity.search.mean_es import MeanES
from heredity.search.number_prompts import Generation, PromptCodec
from heredity.search.random_search import RandomSearch
from heredity.search.test_functions import TEST_FUNCTIONS

FINE = 10**9


class Scripted:
    """Answers by a function of the prompt, and remembers the questions."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def complete(self, prompt, *, n=1, temperature=1.0, max_tokens=128, stop=(), seed=0):
        self.asked.append((prompt, temperature, seed))
        return [self.answer(prompt)] * n


def box(dim):
    return Box(-3.0, 3.0, dim=dim)


def sphere(x):
    return -np.square(x - 1.3).sum(-1)


def follow(search, generations=12):
    seen = []
    for _ in range(generations):
        x = np.array(search.ask_array())
        search.tell_array(sphere(x))
        seen.append(x)
    return np.stack(seen)


def test_a_model_that_writes_the_elite_s_mean_makes_it_mean_es():
    def elite_mean(prompt):
        lines = prompt.rstrip().split("\n")[:-1]
        rows = [line.split(";")[1].split(",") for line in lines if line]
        last = np.array(rows[-2:], dtype=np.float64)  # the two best of one generation of five
        return ",".join(str(int(v)) for v in np.rint(last.mean(0)))

    codec = PromptCodec(levels=FINE)
    mine = EvoLLM(box(3), Scripted(elite_mean), 5, 0.2, generations=1, context="last", codec=codec, seed=7)
    # Levels are 6·10⁻⁹ apart, which moves no rank in twelve generations.
    assert np.allclose(follow(mine), follow(MeanES(box(3), 5, 2, 0.2, seed=7)), atol=1e-6)
    assert mine.fallbacks == 0 and mine.calls == 12


def test_a_model_that_talks_nonsense_leaves_a_search_that_works():
    def won(seed):
        nonsense = EvoLLM(box(2), Scripted(lambda _: "12,,7 I think"), seed=seed)
        guessed = RandomSearch(box(2), seed)
        found = nonsense.run(sphere, 100, direction="maximize").value
        assert nonsense.fallbacks == nonsense.generation and nonsense.calls == 3 * nonsense.generation
        return found - guessed.run(sphere, 100, direction="maximize").value

    assert np.median([won(seed) for seed in range(20)]) >= 0


def test_falling_back_is_mean_es_with_one_elite():
    mine = EvoLLM(box(3), Scripted(lambda _: "?"), 5, 0.2, seed=3)
    assert np.array_equal(follow(mine), follow(MeanES(box(3), 5, 1, 0.2, seed=3)))


def test_blocks_are_asked_apart_and_joined_in_order():
    answers = {2: "0100,0200", 1: "0900"}
    model = Scripted(lambda prompt: answers[prompt.split("\n")[0].count(",") + 1])
    search = EvoLLM(box(5), model, block=2, seed=1)
    follow(search, 1)
    assert [prompt.split("\n")[0].count(",") + 1 for prompt, _, _ in model.asked] == [2, 2, 1]
    assert np.allclose(search.center, [-2.4, -1.8, -2.4, -1.8, 2.4])
    ranks = [[line.split(";")[0] for line in prompt.split("\n")] for prompt, _, _ in model.asked]
    assert ranks[0] == ranks[1] == ranks[2] == ["5", "4", "3", "2", "1", "", "0"]
    assert blocks(5, None) == [slice(0, 5)]


def test_a_question_is_repeated_warmer_with_another_seed():
    replies = iter(["", "7", "0500,0500"])
    model = Scripted(lambda _: next(replies))
    search = EvoLLM(box(2), model, seed=0)
    follow(search, 1)
    assert [temperature for _, temperature, _ in model.asked] == [0.0, 1.0, 1.0]
    assert len({seed for _, _, seed in model.asked}) == 3 and search.fallbacks == 0
    assert np.allclose(search.center, 0)


def test_failures_are_not_shown():
    model = Scripted(lambda _: "0500,0500")
    search = EvoLLM(box(2), model, seed=0)
    search.ask_array()
    search.tell_array([1.0, np.nan, 2.0, -np.inf, 0.5])
    assert [line.split(";")[0] for line in model.asked[0][0].split("\n")] == ["3", "2", "1", "", "0"]


def test_what_is_kept():
    history = [Generation(np.zeros((1, 1)), np.array([float(f)])) for f in (1, 5, 2, 4, 3)]
    assert [g.top for g in kept(history, 3, "best")] == [5, 4, 3]
    assert [g.top for g in kept(history, 3, "last")] == [2, 4, 3]
    equal = [Generation(np.full((1, 1), k), np.array([1.0])) for k in range(3)]
    assert [int(g.x[0, 0]) for g in kept(equal, 2, "best")] == [1, 2]


def test_traces_show_what_the_teacher_did_next():
    codec = PromptCodec(levels=1000)
    families = [TEST_FUNCTIONS["sphere"]]

    def teacher(dim, seed):
        return MeanES(box(dim), 5, 1, 0.2, seed=seed)

    now = teacher_traces(teacher, families, [2], 2, 4, codec, generations=1, context="last")
    assert len(now) == 8
    # This teacher's next mean is the best member, which stands last.
    assert all(RepeatBest().complete(prompt) == [answer] for prompt, answer in now)
    later = teacher_traces(teacher, families, [2], 2, 4, codec, generations=1, context="last", ahead=3)
    assert [answer for _, answer in later] == [now[i][1] for i in (2, 3, 6, 7)]
    assert [prompt for prompt, _ in later] == [now[i][0] for i in (0, 1, 4, 5)]


def test_only_answers_teach():
    logits = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    tokens = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 1, 2, 2, 3, 3]])
    answers = torch.tensor([[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]).bool()
    answer_loss(logits, tokens, answers).backward()
    moved = logits.grad.abs().sum(-1) > 0
    # The token at t is told by the logits at t − 1.
    assert moved.tolist() == [[False, False, True, True, False, False], [False, False, False, False, True, False]]


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(128, 128)
        nn.init.zeros_(self.table.weight)

    def forward(self, tokens):
        return self.table(tokens)


def test_fine_tuning_lowers_the_loss_and_is_the_same_again():
    traces = [("1;0100\n\n0;", "0100"), ("1;0900\n\n0;", "0900")]

    def trained():
        model = Bigram()
        return fine_tune(model, traces, lambda text: [ord(c) for c in text], steps=30, batch=2, lr=0.3), model

    (losses, model), (again, other) = trained(), trained()
    assert losses[0] == pytest.approx(np.log(128), abs=1e-5) and losses[-1] < 1.0
    assert losses == again and torch.equal(model.table.weight, other.table.weight)
    assert (model.table.weight[ord("\n")] == 0).all()  # what follows a newline stands in prompts only
