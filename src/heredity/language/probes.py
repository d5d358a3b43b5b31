"""Recorded evaluations of language models on tasks of text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from heredity.errors import EvaluationFailed, MissingExtra
from heredity.evaluation.outcome import Graded
from heredity.evaluation.stats import wilson
from heredity.lab import Context, Model, Probe
from heredity.language.scoring import Match, Tokenizer, generate, label_scores, majority_answers, matches

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def tokenizer_of(model: Model) -> Tokenizer:
    """The tokenizer among a model's files; an adapter without one uses its base's.

    Raises:
        EvaluationFailed: there is none.
    """
    try:
        from transformers import AutoConfig, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("scoring a language model", "hf") from error
    import tempfile
    from pathlib import Path

    files = model.files()
    if not any(name in files for name in TOKENIZER_FILES):
        base = next((parent for role, parent in model.edges if role == "base"), None)
        if base is None:
            raise EvaluationFailed(f"model {model.id} came without tokenizer files; add its whole folder")
        return tokenizer_of(base)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        spec: Any = model.architecture or {}
        if spec.get("kind") == "transformers":
            AutoConfig.for_model(**spec["config"]).save_pretrained(folder)
        return cast("Tokenizer", AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def _graded(marks: Sequence[bool], part: str) -> Mapping[str, float] | Graded:
    values = _measured(sum(marks), len(marks), part)
    return values if part == "fitness" else Graded(values, marks)


def _measured(right: int, n: int, part: str) -> Mapping[str, float]:
    """Fitness is one number; a reported accuracy comes with its interval."""
    if part == "fitness":
        return {"fitness": right / n}
    estimate = wilson(right, n)
    return {"accuracy": estimate.mean, "accuracy_low": estimate.low, "accuracy_high": estimate.high}


@dataclass(frozen=True)
class Answers(Probe):
    """Share of prompts that the model answers rightly, by greedy generation.

    Args:
        examples: (prompt, answer) pairs.
        match: how an answer is compared.
        max_new_tokens: length of answers.
        batch: prompts per pass.
        part: "fitness" gives `fitness`, "test" gives `accuracy` with its 95 % Wilson interval.
    """

    examples: tuple[tuple[str, str], ...]
    match: Match = "exact"
    max_new_tokens: int = 64
    batch: int = 16
    part: str = "fitness"

    def measure(self, model: Model, context: Context) -> Mapping[str, float] | Graded:
        """Generate and compare; the test part also says which answers were right."""
        return _graded(self.marks(self.answers(model)), self.part)

    def answers(self, model: Model) -> list[str]:
        """The model's answer to every prompt; the same each time."""
        prompts = [prompt for prompt, _ in self.examples]
        return generate(
            model.load(), tokenizer_of(model), prompts, max_new_tokens=self.max_new_tokens, batch=self.batch
        )

    def right(self, answers: Sequence[str]) -> int:
        """How many answers count."""
        return sum(self.marks(answers))

    def marks(self, answers: Sequence[str]) -> list[bool]:
        """Which answers count."""
        return [matches(given, a, self.match) for given, (_, a) in zip(answers, self.examples, strict=True)]


@dataclass(frozen=True)
class Labels(Probe):
    """Share of texts whose own label is the likeliest continuation among all labels.

    Args:
        examples: (text, label) pairs.
        labels: all labels, in order; of equally likely ones the first counts.
        batch: pairs per pass.
        part: as in `Answers`.
    """

    examples: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    batch: int = 16
    part: str = "fitness"
    match: ClassVar[Match] = "exact"

    def measure(self, model: Model, context: Context) -> Mapping[str, float] | Graded:
        """Score all labels after each text; the test part also says which were right."""
        return _graded(self.marks(self.answers(model)), self.part)

    def answers(self, model: Model) -> list[str]:
        """The likeliest label after every text."""
        texts = [text for text, _ in self.examples]
        scores = label_scores(model.load(), tokenizer_of(model), texts, self.labels, batch=self.batch)
        return [self.labels[i] for i in scores.argmax(1).tolist()]

    def right(self, answers: Sequence[str]) -> int:
        """How many labels are the texts' own."""
        return sum(self.marks(answers))

    def marks(self, answers: Sequence[str]) -> list[bool]:
        """Which labels are the texts' own."""
        return [given == label for given, (_, label) in zip(answers, self.examples, strict=True)]


@dataclass(frozen=True)
class VotedAnswers(Probe):
    """How often several models are right by majority; measured on the fittest, whose answer decides ties.

    The members are the measured model and those whose answers are given, so that the record holds all that was counted.
    Gives `vote_fitness`, or `vote_accuracy` with its interval: numbers of the vote, not of the model.

    Args:
        task: the examples, and how a model answers them.
        others: the answers of the other members, the fitter first: [members][examples], see `task.answers`.
    """

    task: Answers | Labels
    others: tuple[tuple[str, ...], ...]

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Answer, count, compare."""
        chosen = majority_answers([self.task.answers(model), *self.others], self.task.match)
        values = _measured(self.task.right(chosen), len(chosen), self.task.part)
        return {f"vote_{name}": value for name, value in values.items()}


def read_examples(text: str, source: str) -> tuple[str, list[tuple[str, str]]]:
    """Examples in JSONL text: their kind ("answers" or "labels") and the pairs.

    Raises:
        ValueError: a line is no object, lacks its keys, or differs in kind from the first; or there is no line.
    """
    kind, pairs = "", []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{source}:{number}: no JSON: {error.msg}") from error
        keys = next((keys for keys in (("prompt", "answer"), ("text", "label")) if _has(row, keys)), None)
        if keys is None:
            raise ValueError(f"{source}:{number}: a line needs the keys prompt and answer, or text and label")
        here = "answers" if keys[0] == "prompt" else "labels"
        if kind and here != kind:
            raise ValueError(f"{source}:{number}: the task mixes prompt/answer and text/label lines; use one kind")
        kind = here
        pairs.append((str(row[keys[0]]), str(row[keys[1]])))
    if not pairs:
        raise ValueError(f"{source}: the task is empty; give at least one JSON line")
    return kind, pairs


def _has(row: Any, keys: tuple[str, str]) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), (str, int, float)) for key in keys)
