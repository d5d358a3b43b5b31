"""Scoring a causal language model on tasks of text: generated answers, and labels by likelihood. Plain PyTorch.

Prompts are padded on the left and masked, so that a batch gives the same answers as its members one by one, up to
rounding. Decoding is greedy: the answer is the model's, not the sampler's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from heredity.errors import EvaluationFailed

Match = Literal["exact", "contains", "number"]
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that scoring uses."""

    eos_token_id: int | None
    pad_token_id: int | None

    def __call__(self, text: str, *, add_special_tokens: bool = ...) -> Any:
        """Encode one text; the answer has `input_ids`."""

    def decode(self, ids: Any, *, skip_special_tokens: bool = ...) -> str:
        """Text of token ids."""


def matches(answer: str, wanted: str, how: Match) -> bool:
    """Whether a generated answer counts.

    Args:
        how: "exact" compares the stripped texts, "contains" looks for one in the other, "number" compares the last
            number in each, commas ignored.

    >>> matches("So it is 1,024.", "The answer: 1024", "number")
    True
    """
    if how == "exact":
        return answer.strip() == wanted.strip()
    if how == "contains":
        return wanted.strip() in answer
    found, goal = _NUMBER.findall(answer), _NUMBER.findall(wanted)
    if not goal:
        raise EvaluationFailed(f"match: number, but the answer {wanted!r} holds no number")
    return bool(found) and float(found[-1].replace(",", "")) == float(goal[-1].replace(",", ""))


def majority_answers(answers: Sequence[Sequence[str]], how: Match) -> list[str]:
    """Per example the answer that most members give; a tie goes to the earliest member that gives one of the tied.

    Args:
        answers: [members][examples].
        how: "number" takes answers with the same last number for one (and all without a number); else texts are
            compared stripped.

    Raises:
        ValueError: there is no member, or members answer different numbers of examples.

    >>> majority_answers([["7", "a"], ["x = 8.0", "b"], ["8", "c"]], "number")
    ['x = 8.0', 'a']
    """
    if not answers or len({len(given) for given in answers}) != 1:
        raise ValueError(f"a vote needs members that answer the same examples, got {[len(a) for a in answers]} answers")
    chosen = []
    for given in zip(*answers, strict=True):
        kinds = [_same(answer, how) for answer in given]
        chosen.append(given[kinds.index(Counter(kinds).most_common(1)[0][0])])  # of equals the first seen
    return chosen


def _same(answer: str, how: Match) -> str | float | None:
    """What is equal for answers that count as the same."""
    if how != "number":
        return answer.strip()
    found = _NUMBER.findall(answer)
    return float(found[-1].replace(",", "")) if found else None


@torch.no_grad()
def generate(
    module: nn.Module, tokenizer: Tokenizer, prompts: Sequence[str], *, max_new_tokens: int, batch: int = 16
) -> list[str]:
    """Greedy continuations of prompts.

    Args:
        module: a transformers causal model in evaluation mode.
        prompts: texts.
        max_new_tokens: at most so many tokens each; generation stops at the end-of-sequence token.
        batch: prompts per pass.

    Raises:
        EvaluationFailed: the model's logits are not finite.
    """
    answers: list[str] = []
    end = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (end or 0)
    for start in range(0, len(prompts), batch):
        rows = [list(tokenizer(prompt).input_ids) or [pad] for prompt in prompts[start : start + batch]]
        width = max(map(len, rows))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        out: Any = module.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=end,
            pad_token_id=pad,
            output_logits=True,
            return_dict_in_generate=True,
        )
        if not all(bool(torch.isfinite(step).all()) for step in out.logits):
            raise EvaluationFailed("the model's logits are not finite")
        answers += [tokenizer.decode(row[width:], skip_special_tokens=True) for row in out.sequences]
    return answers


@torch.no_grad()
def label_scores(
    module: nn.Module, tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[str], *, batch: int = 16
) -> Tensor:
    """Mean log-likelihood per token of each label after each text: [texts, labels].

    Raises:
        EvaluationFailed: the model's logits are not finite.
    """
    pairs = []
    for text in texts:
        context = list(tokenizer(text).input_ids)
        for label in labels:
            answer = list(tokenizer(" " + label, add_special_tokens=False).input_ids)
            pairs.append((context, answer))
    scores: list[Tensor] = []
    for start in range(0, len(pairs), batch):
        part = pairs[start : start + batch]
        width = max(len(context) + len(answer) for context, answer in part)
        ids, mask = torch.zeros(len(part), width, dtype=torch.long), torch.zeros(len(part), width, dtype=torch.long)
        for i, (context, answer) in enumerate(part):
            row = context + answer
            ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
        logits: Tensor = module(input_ids=ids, attention_mask=mask).logits.float()
        if not bool(torch.isfinite(logits[mask.bool()]).all()):
            raise EvaluationFailed("the model's logits are not finite")
        logp = logits.log_softmax(-1)
        for i, (context, answer) in enumerate(part):
            places = torch.arange(len(context) - 1, len(context) + len(answer) - 1)
            scores.append(logp[i, places, torch.tensor(answer)].mean())
    return torch.stack(scores).view(len(texts), len(labels))
