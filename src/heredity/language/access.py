"""How language models are reached: what they can be asked, models that answer from a script, and a record of answers.

Rooms below this one take any object with these methods and import nothing from here. `EndpointChat` and `LocalModel`
are here, too.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from heredity.errors import HeredityError
from heredity.language.endpoint import EndpointChat as EndpointChat  # noqa: PLC0414  # in reach from here
from heredity.language.endpoint import EndpointError as EndpointError  # noqa: PLC0414  # in reach from here
from heredity.language.local_model import LocalModel as LocalModel  # noqa: PLC0414  # in reach from here

# {"role": "system" | "user" | "assistant", "content": a text, or parts of which some are images}
Message: TypeAlias = Mapping[str, Any]
Prompt: TypeAlias = "str | Sequence[int]"


class ChatModel(Protocol):
    """Answers conversations."""

    def reply(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """The next message of the assistant."""


class Completer(Protocol):
    """Continues texts."""

    def complete(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """`n` continuations of a text or of token ids; they end before the first of the stops."""


class ScoringModel(Protocol):
    """Knows how likely texts are."""

    def logprobs(self, prefix: Prompt, continuation: Prompt) -> Tensor:
        """Natural logarithms of the probabilities of the continuation's tokens, each after all before it [T]."""


class NotRecorded(HeredityError, LookupError):
    """A request is not in the journal, and there is no model to ask."""


class Recording:
    """A model whose answers are kept: what was asked before is answered from the journal, the rest by the model.

    The journal has one line of JSON for each request and its answer, appended when the answer has come; a line that was
    cut off by a crash is passed over. It holds messages and settings, and nothing of how the model is reached. The
    same request has the same answer for ever: another draw needs another seed.

    Args:
        model: any of the protocols; None replays only.
        path: the journal; it is made when the first answer comes.
    """

    def __init__(self, model: Any, path: str | Path) -> None:
        self.model, self.path = model, Path(path)
        self.asked = 0  # requests that the model answered
        self._lock = threading.Lock()
        self._answers: dict[str, Any] = {}
        self._torn = False
        if self.path.exists():
            text = self.path.read_bytes()
            self._torn = bool(text) and not text.endswith(b"\n")
            for number, line in enumerate(text.split(b"\n"), 1):
                self._read(line, number, last=number == text.count(b"\n") + 1)

    @property
    def name(self) -> str:
        """The model's."""
        return "recorded" if self.model is None else model_name(self.model)

    def reply(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """As `ChatModel`."""
        settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        asked = [dict(message) for message in messages]
        return str(self._answer("reply", {"messages": asked}, settings))

    def complete(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """As `Completer`."""
        settings = {"n": n, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        return list(
            self._answer("complete", {"prompt": _plain(prompt)}, {**settings, "stop": list(stop), "seed": seed})
        )

    def logprobs(self, prefix: Prompt, continuation: Prompt) -> Tensor:
        """As `ScoringModel`."""
        import torch

        asked = {"prefix": _plain(prefix), "continuation": _plain(continuation)}
        return torch.tensor(self._answer("logprobs", asked, {}), dtype=torch.float64)

    def _answer(self, method: str, asked: dict[str, Any], settings: dict[str, Any]) -> Any:
        key = _key(method, asked, settings)
        with self._lock:
            if key in self._answers:
                return self._answers[key]
        if self.model is None:
            raise NotRecorded(f"{self.path} holds no answer to this {method} request, and there is no model to ask")
        answer = getattr(self.model, method)(*asked.values(), **settings)
        if isinstance(answer, Tensor):
            answer = answer.double().tolist()
        record = {"method": method, "request": asked, "settings": settings, "model": self.name, "answer": answer}
        with self._lock:
            if key in self._answers:  # somebody else has asked the same in the meantime
                return self._answers[key]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as journal:
                journal.write((b"\n" if self._torn else b"") + json.dumps(record).encode() + b"\n")
                journal.flush()
                os.fsync(journal.fileno())
            self._torn = False
            self.asked += 1
            self._answers[key] = answer
        return answer

    def _read(self, line: bytes, number: int, *, last: bool) -> None:
        if not line.strip():
            return
        try:
            record = json.loads(line)
            key = _key(record["method"], record["request"], record["settings"])
            self._answers.setdefault(key, record["answer"])
        except (ValueError, KeyError, TypeError) as error:
            # A cut-off line is the last one, or one that a later run has closed with a newline of its own.
            if not last and line.startswith(b'{"method"') and not line.endswith(b"}"):
                return
            if not last:
                raise HeredityError(f"line {number} of {self.path} is no record of a request: {error}") from error


def _key(method: str, asked: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    return json.dumps([method, asked, settings], sort_keys=True)


def _plain(prompt: Prompt) -> str | list[int]:
    return prompt if isinstance(prompt, str) else [int(token) for token in prompt]


def model_name(model: Any) -> str:
    """What a model calls itself, by `name` or its class."""
    return str(getattr(model, "name", type(model).__name__))


class ScriptedChat:
    """A chat model for tests and demonstrations: it gives prepared answers.

    Args:
        answers: in turn; or a function of the messages.
        cycle: begin again when they are used up, instead of an error.

    >>> ScriptedChat(["Hello."]).reply([{"role": "user", "content": "Hi."}])
    'Hello.'
    """

    name = "scripted"

    def __init__(self, answers: Sequence[str] | Callable[[list[Message]], str], *, cycle: bool = False) -> None:
        self._answers, self._cycle = answers, cycle
        self.requests: list[dict[str, Any]] = []  # what was asked, with its settings

    def reply(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """The next answer."""
        asked = list(messages)
        self.requests.append(
            {"messages": asked, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        )
        if callable(self._answers):
            return self._answers(asked)
        return _next(self._answers, len(self.requests) - 1, self._cycle)


class ScriptedCompleter:
    """A completer for tests and demonstrations: it gives prepared continuations, cut at stops.

    Args:
        answers: in turn, `n` for a request; or a function of the prompt and the number of the sample.
        cycle: begin again when they are used up, instead of an error.
    """

    name = "scripted"

    def __init__(self, answers: Sequence[str] | Callable[[Prompt, int], str], *, cycle: bool = False) -> None:
        self._answers, self._cycle, self._given = answers, cycle, 0
        self.requests: list[dict[str, Any]] = []

    def complete(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """The next answers."""
        self.requests.append({"prompt": prompt, "n": n, "temperature": temperature, "stop": tuple(stop), "seed": seed})
        given = []
        for sample in range(n):
            if callable(self._answers):
                text = self._answers(prompt, sample)
            else:
                text = _next(self._answers, self._given, self._cycle)
                self._given += 1
            given.append(cut(text, stop))
        return given


def _next(answers: Sequence[str], place: int, cycle: bool) -> str:
    if place >= len(answers) and not (cycle and answers):
        raise HeredityError(f"the script has {len(answers)} answers; a request more was made")
    return answers[place % len(answers)]


def cut(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of the stops."""
    places = [place for word in stop if word and (place := text.find(word)) >= 0]
    return text[: min(places)] if places else text
