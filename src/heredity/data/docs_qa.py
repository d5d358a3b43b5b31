"""Questions about documented names by rule, with answers that stand in their documents.

Source: the rule-based side of the synthetic question-answer data of arXiv 2407.18743; facts and templates are ours.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

from heredity.data.corpus import Document

FACTS = ("entity", "module", "name", "summary", "first_parameter", "second_parameter")


@dataclass(frozen=True, slots=True)
class Template:
    """A question with the facts that it shows, and the fact that it asks for.

    Args:
        question: text with fields such as "{entity}"; every field is one of `FACTS`.
        answer: one of `FACTS`.
    """

    question: str
    answer: str

    def __post_init__(self) -> None:
        unknown = [fact for fact in (*self.fields, self.answer) if fact not in FACTS]
        if unknown:
            raise ValueError(f"template {self.question!r} uses {unknown}; known facts are {', '.join(FACTS)}")

    @property
    def fields(self) -> tuple[str, ...]:
        """Facts that the question shows."""
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.question) if name is not None)


TEMPLATES: tuple[Template, ...] = (
    Template("Which module defines {name}?", "module"),
    Template("What does {entity} do?", "summary"),
    Template("What is the first parameter of {entity}?", "first_parameter"),
    Template("Which parameter of {entity} follows {first_parameter}?", "second_parameter"),
    Template("Which name in {module} has this description: {summary}", "name"),
)


@dataclass(frozen=True, slots=True)
class QA:
    """A question and its one answer.

    Args:
        question: as the model reads it.
        answer: stands in the `entry` of the entity's document, white space aside.
        entity: full dotted name that the question is about.
        options: distinct answers, `answer` among them, in random order.
    """

    question: str
    answer: str
    entity: str
    options: tuple[str, ...]


def docs_qa(
    docs: Sequence[Document], templates: Sequence[Template] = TEMPLATES, seed: int = 0, *, choices: int = 4
) -> list[QA]:
    """One question for every template and document that has the template's facts, template after template.

    A question with two different answers among `docs` is left out: "Which module defines dumps?" fits json and pickle.
    Wrong options are answers of other questions of the same template, so that all have one type.

    Args:
        docs: documents of `docstrings`; source files and topics have no facts to ask for.
        seed: of the options.
        choices: options per question, 2 or more.

    Raises:
        ValueError: fewer than `choices` different answers for a template that has questions.
    """
    if choices < 2:
        raise ValueError(f"choices must be 2 or more, got {choices}")
    known = [(d.entity, facts(d)) for d in docs]
    rng = random.Random(seed)
    found: list[QA] = []
    for template in templates:
        answers: dict[str, set[str]] = {}
        entities: dict[str, str] = {}
        for entity, own in known:
            if own.keys() >= {*template.fields, template.answer}:
                question = template.question.format(**own)
                answers.setdefault(question, set()).add(own[template.answer])
                entities.setdefault(question, entity)
        single = {question: next(iter(given)) for question, given in answers.items() if len(given) == 1}
        pool = sorted(set(single.values()))
        if single and len(pool) < choices:
            raise ValueError(f"{choices} options for {template.question!r} need as many answers, got {len(pool)}")
        for question, answer in single.items():
            # One more than needed: at most one of them is the answer itself.
            drawn = [option for option in rng.sample(pool, min(choices, len(pool))) if option != answer]
            options = [answer, *drawn[: choices - 1]]
            rng.shuffle(options)
            found.append(QA(question, answer, entities[question], tuple(options)))
    return found


def facts(doc: Document) -> dict[str, str]:
    """What a documented name's document says about it, by fact; absent facts are absent keys."""
    if doc.kind in {"source", "topic"}:
        return {}
    own = {"entity": doc.entity, "module": doc.module, "name": doc.name, "summary": doc.summary}
    named = [name for name in doc.parameters or () if not name.startswith("*")]
    own |= dict(zip(("first_parameter", "second_parameter"), named, strict=False))
    return {fact: value for fact, value in own.items() if value}


def with_wrong_answers(items: Sequence[QA], share: float, seed: int = 0) -> list[QA]:
    """Replace the answer of exactly round(share · n) questions by another of their options, in place of order.

    Raises:
        ValueError: share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in 0..1, got {share}")
    rng = random.Random(seed)
    changed = set(rng.sample(range(len(items)), round(share * len(items))))
    return [
        replace(qa, answer=rng.choice([o for o in qa.options if o != qa.answer])) if i in changed else qa
        for i, qa in enumerate(items)
    ]
