"""What a language model is asked when it is the operator that varies code, and the code in what it answers.

Prompts are built by joining texts, never by format strings: code is full of braces. The texts are our own; which kinds
there are is the paper's.
Source: Morris, Jurado & Zutty, LLM Guided Evolution (arXiv 2403.11446), sections 3.2 to 3.4.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from heredity.search.code_gene import CodeGene


class Chat(Protocol):
    """Anything that answers: `heredity.language.access.ChatModel` and whatever looks like it."""

    def reply(
        self,
        messages: list[dict[str, Any]],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """The answer to a conversation of {"role", "content"}."""


class NoCode(ValueError):
    """A reply holds no code that could be used; the message says why."""


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Args:
        kind: what sort of change is asked for, for instance "expert/params", "EoT" or "crossover".
        text: the prompt.
        temperature, top_p: of the answer.
        seed: of the model's generator.
    """

    kind: str
    text: str
    temperature: float
    top_p: float
    seed: int

    def messages(self) -> list[dict[str, Any]]:
        """The conversation: one message of the user."""
        return [{"role": "user", "content": self.text}]


VOICES: Mapping[str, str] = {
    "concise": "",
    "expert": "You have designed neural networks for decades, and your colleagues copy what you do. ",
    "mad scientist": "You are a brilliant and slightly unhinged inventor whose wildest constructions tend to work. ",
    "clumsy outsider": (
        "You wandered into the laboratory by mistake, understand half of what you see, and hit upon good ideas by "
        "happy accident. "
    ),
}
AIMS: Mapping[str, str] = {
    "complex": "Rework the code below with a more elaborate idea that should make the model more accurate.",
    "params": "Change one or more numbers in the code below (sizes, rates, probabilities) so that the model improves.",
    "reduce params": "Change the code below so that the model has fewer parameters and stays as accurate as it is.",
    "unusual": "Change the code below in a way that hardly anybody would try and that may improve the model.",
    "significant": "Make one substantial change to the code below that should improve the model noticeably.",
    "unusual-params": "Give some of the numbers in the code below values that hardly anybody would try, for a better "
    "model.",
}
TEMPLATES: tuple[tuple[str, str], ...] = tuple((voice, aim) for voice in VOICES for aim in AIMS)
RULES = (
    "Keep the names of classes and functions, and the sizes of what goes in and comes out.\n"
    "Return the whole code, not only the changed lines, as one block between ``` fences.\n"
    "It must work when everything is called with its default arguments.\n"
    "No installation, no demonstration, no tests.\n"
    "Think it through step by step before you write the block."
)
BEFORE, AFTER, NOW = "The code before:", "The code after:", "The code to change now:"
FIRST, SECOND = "The first version:", "The second version:"


def fenced(code: str) -> str:
    """Code between fences that are longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * max(3, longest + 1)
    return fence + "python\n" + code + ("" if code.endswith("\n") else "\n") + fence + "\n"


_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*$")


def fences(text: str) -> list[str]:
    """What stands between the fences of a markdown text, in order; a fence that is never closed is left out."""
    found: list[str] = []
    opened = ""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        match = _FENCE.match(line.rstrip())
        if not opened and match:
            opened, lines = match[1], []
        elif opened and match and line.strip() == match[1] and match[1].startswith(opened):
            found.append("".join(lines))
            opened = ""
        elif opened:
            lines.append(line)
    return found


def extract_code(text: str) -> str:
    """The longest of the fenced blocks in a reply, checked to be Python.

    Raises:
        NoCode: there is none, or it cannot be parsed.

    >>> extract_code("Like so:\\n```python\\nx = 1\\n```\\nDone.")
    'x = 1\\n'
    """
    blocks = fences(text)
    if not blocks:
        raise NoCode("the reply holds no closed block of code between ``` fences")
    code = max(blocks, key=len)
    if not code.strip():
        raise NoCode("the reply's block of code is empty")
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NoCode(f"the reply's code cannot be parsed: {error}") from error
    return code


_NOTE = "# -- NOTE --"


def carry_notes(old: str, new: str) -> str:
    """`new` with the notes of `old`, from one line `# -- NOTE --` to the next, in front, where it has none itself."""
    lines = old.splitlines(keepends=True)
    marks = [i for i, line in enumerate(lines) if line.strip() == _NOTE]
    if len(marks) < 2 or any(line.strip() == _NOTE for line in new.splitlines()):
        return new
    kept = "".join("".join(lines[a : b + 1]) for a, b in zip(marks[::2], marks[1::2], strict=False))
    return kept + ("" if kept.endswith("\n") else "\n") + new


class LLMMutation:
    """Ask for one block to be changed, in one of many voices and with one of several aims.

    Args:
        templates: pairs of a voice and an aim, one of which is drawn.
        temperature: the range that it is drawn from.
        top_p: of every answer.
    """

    def __init__(
        self,
        templates: Sequence[tuple[str, str]] = TEMPLATES,
        temperature: tuple[float, float] = (0.02, 0.35),
        top_p: float = 0.1,
    ) -> None:
        if not templates:
            raise ValueError("a mutation needs at least one template")
        for voice, aim in templates:
            if voice not in VOICES or aim not in AIMS:
                raise ValueError(f"a template is one of {list(VOICES)} and one of {list(AIMS)}, got {(voice, aim)}")
        self.templates, self.temperature, self.top_p = tuple(templates), temperature, top_p

    def request(self, block: str, rng: np.random.Generator) -> Request:
        """The question for a block of code."""
        voice, aim = self.templates[int(rng.integers(len(self.templates)))]
        text = VOICES[voice] + AIMS[aim] + "\n\n" + NOW + "\n" + fenced(block) + "\n" + RULES
        return Request(f"{voice}/{aim}", text, float(rng.uniform(*self.temperature)), self.top_p, _seed(rng))


class EvolutionOfThought:
    """Ask for what made another block better to be done to this block, too ("Evolution of Thought").

    Args:
        temperature, top_p: as in `LLMMutation`.
    """

    def __init__(self, temperature: tuple[float, float] = (0.02, 0.35), top_p: float = 0.1) -> None:
        self.temperature, self.top_p = temperature, top_p

    @staticmethod
    def differing(origin: CodeGene, elite: CodeGene) -> list[int]:
        """Blocks, but block 0, in which an elite differs from the file that the search began with."""
        pairs = list(zip(origin.blocks, elite.blocks, strict=False))
        return [i for i, (a, b) in enumerate(pairs) if i and CodeGene(a).key != CodeGene(b).key]

    def request(self, block: str, origin: CodeGene, elite: CodeGene, rng: np.random.Generator) -> Request | None:
        """The question for a block of code; None when the elite is the origin."""
        changed = self.differing(origin, elite)
        if not changed:
            return None
        i = changed[int(rng.integers(len(changed)))]
        text = (
            "A change to one part of a model has made it better.\n\n"
            + BEFORE + "\n" + fenced(origin.blocks[i]) + "\n" + AFTER + "\n" + fenced(elite.blocks[i])
            + "\nSay in a sentence or two why the change may have helped. Then apply the same principle to another part"
            + " of the model.\n\n" + NOW + "\n" + fenced(block) + "\n" + RULES
        )  # fmt: skip
        return Request("EoT", text, float(rng.uniform(*self.temperature)), self.top_p, _seed(rng))


class LLMCrossover:
    """Ask for one block that unites two versions of it.

    Args:
        temperature: the range that it is drawn from.
        top_p: of every answer.
    """

    def __init__(self, temperature: tuple[float, float] = (0.05, 0.1), top_p: float = 0.1) -> None:
        self.temperature, self.top_p = temperature, top_p

    def request(self, first: str, second: str, rng: np.random.Generator) -> Request:
        """The question for the first of two versions to be enriched by the second."""
        text = (
            "Two models differ in the part below. Write one version that unites what is best in both; where they "
            "cannot be united, lean to the first.\n\n"
            + FIRST + "\n" + fenced(first) + "\n" + SECOND + "\n" + fenced(second) + "\n" + RULES
        )  # fmt: skip
        return Request("crossover", text, float(rng.uniform(*self.temperature)), self.top_p, _seed(rng))


class QualityControl:
    """Ask for new code to be checked against the code that it replaces, and repaired."""

    def request(self, old: str, new: str, rng: np.random.Generator) -> Request:
        """The question for a replacement."""
        text = (
            "A part of a model has been rewritten. Check the new version for mistakes, above all names and sizes that "
            "no longer fit, and repair them without undoing the change.\n\n"
            + BEFORE + "\n" + fenced(old) + "\n" + NOW + "\n" + fenced(new) + "\n" + RULES
        )  # fmt: skip
        return Request("check", text, 0.1, 0.1, _seed(rng))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
