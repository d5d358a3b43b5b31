"""A language model behind HTTP, spoken to as OpenAI's interface has it: servers of vLLM, llama.cpp, Ollama and others.

Source: OpenAI's API reference, "Create chat completion" and "Create completion".
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from heredity.errors import HeredityError

AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # worth another try
LONGEST_WAIT = 60.0  # seconds, whatever a server asks for
LARGEST = 64 << 20  # bytes of an answer


class EndpointError(HeredityError):
    """A language model's server did not give an answer; the message says what it gave instead."""


@dataclass
class Usage:
    """What has been asked of a server.

    Args:
        requests: answered ones; retries: those that had to be made again.
        prompt_tokens, completion_tokens: as the server counts them.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, prompt: float, completion: float) -> float:
        """What the tokens cost at prices per million."""
        return (self.prompt_tokens * prompt + self.completion_tokens * completion) / 1e6


class EndpointChat:
    """`ChatModel` and `Completer` over HTTP.

    Args:
        url: of the interface, up to and including its version, for instance "http://localhost:8000/v1".
        model: the name that the server knows.
        api_key_env: the environment variable that holds the key; None sends none. The key is read when a request is
            made, and kept, shown and recorded nowhere.
        timeout_s: for one request.
        retries: further tries when the server is busy or broken (429, 5xx and the like) or cannot be reached.
        backoff_s: wait before the first of them; each further wait is twice as long, unless the server says how long.
        extra: more fields of every request.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        timeout_s: float = 120.0,
        retries: int = 5,
        backoff_s: float = 1.0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f'an endpoint\'s address looks like "http://localhost:8000/v1", got {url!r}')
        if parts.username or parts.password:
            raise ValueError("an endpoint's address holds no password; name its environment variable by api_key_env")
        if timeout_s <= 0 or retries < 0 or backoff_s < 0:
            raise ValueError(f"time-out, retries and backoff are positive, got {timeout_s}, {retries}, {backoff_s}")
        self.url, self.model, self.api_key_env = url.rstrip("/"), model, api_key_env
        self.timeout_s, self.retries, self.backoff_s, self.extra = timeout_s, retries, backoff_s, dict(extra or {})
        self.usage = Usage()
        self._lock = threading.Lock()
        # A redirect could carry the key to somebody else.
        self._opener = urllib.request.build_opener(_NoRedirect)

    @property
    def name(self) -> str:
        """The model's name; not where it is served."""
        return self.model

    def __repr__(self) -> str:
        return f"EndpointChat({self.url!r}, {self.model!r})"

    def reply(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """The assistant's next message.

        Raises:
            EndpointError: no answer after all tries, or one that is none of the interface's.
        """
        settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        asked = {"messages": [dict(message) for message in messages], **settings}
        (choice,) = self._choices("chat/completions", asked, 1)
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str):
            raise EndpointError(f"{self.url} answered without a text: {_short(choice)}")
        return text

    def replies(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]], *, parallel: int = 8, **settings: Any
    ) -> list[str]:
        """`reply` to many conversations, some at a time, in order; conversation k has the seed `seed` + k."""
        seed = int(settings.pop("seed", 0))
        with ThreadPoolExecutor(max(1, parallel)) as pool:
            waiting = [pool.submit(self.reply, c, seed=seed + k, **settings) for k, c in enumerate(conversations)]
            return [answer.result() for answer in waiting]

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """`n` continuations of a text or of token ids, if the server completes at all.

        Raises:
            EndpointError: as in `reply`.
        """
        asked = {
            "prompt": prompt if isinstance(prompt, str) else [int(token) for token in prompt],
            "n": n,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            **({"stop": list(stop)} if stop else {}),
        }
        texts = [choice.get("text") for choice in self._choices("completions", asked, n)]
        if not all(isinstance(text, str) for text in texts):
            raise EndpointError(f"{self.url} answered without a text: {_short(texts)}")
        return [str(text) for text in texts]

    def _choices(self, path: str, asked: dict[str, Any], count: int) -> list[dict[str, Any]]:
        answer = self._ask(path, {"model": self.model, **asked, **self.extra})
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != count or not all(isinstance(c, dict) for c in choices):
            raise EndpointError(f"{self.url} should have answered with {count} choices: {_short(answer)}")
        used = answer.get("usage")
        counts = used if isinstance(used, dict) else {}
        with self._lock:
            self.usage.requests += 1
            self.usage.prompt_tokens += int(counts.get("prompt_tokens") or 0)
            self.usage.completion_tokens += int(counts.get("completion_tokens") or 0)
        return choices

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request, tried until it is answered."""
        data = json.dumps(body).encode()
        for attempt in range(self.retries + 1):
            wait = min(LONGEST_WAIT, self.backoff_s * 2**attempt)
            try:
                return self._once(path, data)
            except urllib.error.HTTPError as error:
                with error:
                    text = error.read(2000).decode(errors="replace")
                reason = f"it answered {error.code} {error.reason}: {text[:300].strip()}"
                if error.code not in AGAIN:
                    raise EndpointError(self._told(reason)) from None
                wait = min(LONGEST_WAIT, _seconds(error.headers.get("Retry-After"), wait))
            except TimeoutError:
                reason = f"no answer in {self.timeout_s:g} s"
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
                late = isinstance(getattr(error, "reason", None), TimeoutError)
                reason = f"no answer in {self.timeout_s:g} s" if late else f"it cannot be reached: {error}"
            if attempt < self.retries:
                with self._lock:
                    self.usage.retries += 1
                time.sleep(wait)
        raise EndpointError(self._told(f"{reason} ({self.retries + 1} tries)"))

    def _once(self, path: str, data: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._authorization()}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers, method="POST")
        deadline = time.monotonic() + self.timeout_s
        chunks: list[bytes] = []
        with self._opener.open(request, timeout=self.timeout_s) as response:
            while chunk := response.read1(1 << 16):
                chunks.append(chunk)
                if time.monotonic() > deadline:  # a server that drips keeps a socket's own time-out from ending it
                    raise TimeoutError
                if sum(map(len, chunks)) > LARGEST:
                    raise EndpointError(f"{self.url} answered with more than {LARGEST >> 20} MB")
        text = b"".join(chunks)
        try:
            answer = json.loads(text)
        except ValueError:
            raise EndpointError(self._told(f"its answer is no JSON: {text[:300]!r}")) from None
        if not isinstance(answer, dict):
            raise EndpointError(self._told(f"its answer is no object: {_short(answer)}"))
        return answer

    def _authorization(self) -> dict[str, str]:
        if self.api_key_env is None:
            return {}
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise EndpointError(f"the environment variable {self.api_key_env} should hold the key of {self.url}")
        return {"Authorization": f"Bearer {key}"}

    def _told(self, reason: str) -> str:
        """A message without the key, which some servers repeat."""
        key = os.environ.get(self.api_key_env or "", "").strip()
        text = f"{self.url} gave no answer for {self.model}: {reason}"
        return text.replace(key, "…") if key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing; the answer is then an error with its code."""
        return


def _seconds(text: str | None, otherwise: float) -> float:
    try:
        return max(0.0, float(text)) if text is not None else otherwise
    except ValueError:  # a date
        return otherwise


def _short(value: Any) -> str:
    return json.dumps(value)[:300]
