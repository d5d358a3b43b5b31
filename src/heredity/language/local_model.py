"""A language model of transformers in this process: it answers, continues and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heredity.errors import EvaluationFailed, MissingExtra


class LocalModel:
    """`ChatModel`, `Completer` and `ScoringModel` over a causal model of transformers.

    Tokens are drawn with a generator of the request's seed; the global one is neither used nor changed.

    Args:
        model: a folder, a name on the Hub, or a causal model.
        tokenizer: its tokenizer; by default the one that is stored with it.
        template: a chat template (Jinja) instead of the tokenizer's. Where there is neither, a conversation is written
            as lines "role: text" and ends with "assistant:".
        device: where it runs; default where it is.

    Raises:
        MissingExtra: transformers is not installed.
        ValueError: a model without a tokenizer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        template: str | None = None,
        *,
        device: str | torch.device | None = None,
    ) -> None:
        named = isinstance(model, (str, Path))
        self.name = str(model) if named else type(model).__name__
        if named:
            try:
                from transformers import AutoModelForCausalLM, AutoTokenizer
            except ImportError as error:
                raise MissingExtra("a local language model", "hf") from error
            tokenizer = AutoTokenizer.from_pretrained(str(model)) if tokenizer is None else tokenizer
            self.model: Any = AutoModelForCausalLM.from_pretrained(str(model))
        else:
            self.model = model
        if tokenizer is None:
            raise ValueError("a model that is given as an object needs its tokenizer, too")
        self.tokenizer, self.template = tokenizer, template
        if device is not None:
            self.model.to(device)
        self.model.eval()

    def reply(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """The assistant's next message; with temperature 0 the likeliest token each time."""
        asked = [dict(message) for message in messages]
        stop: tuple[str, ...] = ()
        if self.template is not None or getattr(self.tokenizer, "chat_template", None):
            more = {} if self.template is None else {"chat_template": self.template}
            text = self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, **more)
            ids = self._ids(text, special=False)  # the template has written them
        else:
            lines = [f"{message['role']}: {message['content']}" for message in asked]
            ids, stop = self._ids("\n".join([*lines, "assistant:"])), ("\nuser:", "\nsystem:")
        (row,) = self._sample(ids, 1, temperature, top_p, max_tokens=max_tokens, stop=stop, seed=seed)
        return row.strip()

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
        """`n` continuations, drawn together; they end at the end-of-sequence token or before a stop."""
        return self._sample(self._ids(prompt), n, temperature, top_p, max_tokens=max_tokens, stop=stop, seed=seed)

    @torch.no_grad()
    def logprobs(self, prefix: str | Sequence[int], continuation: str | Sequence[int]) -> Tensor:
        """Log-probabilities of the continuation's tokens [T], float32. The two texts are encoded apart.

        Raises:
            ValueError: the prefix has no tokens, so that nothing predicts the first of the continuation.
            EvaluationFailed: the model's logits are not finite.
        """
        first, second = self._ids(prefix), self._ids(continuation, special=False)
        if not first:
            raise ValueError("a prefix of at least one token is needed; begin with the model's first special token")
        ids = torch.tensor([first + second], device=self.model.device)
        logits = self.model(input_ids=ids).logits[0, len(first) - 1 : -1].float()
        if not bool(torch.isfinite(logits).all()):
            raise EvaluationFailed("the model's logits are not finite")
        wanted = torch.tensor(second, dtype=torch.long, device=logits.device).unsqueeze(-1)
        scores: Tensor = logits.log_softmax(-1).gather(-1, wanted).squeeze(-1).cpu()
        return scores

    def _ids(self, prompt: str | Sequence[int], special: bool = True) -> list[int]:
        if not isinstance(prompt, str):
            return [int(token) for token in prompt]
        return list(self.tokenizer(prompt, add_special_tokens=special).input_ids)

    def _ends(self) -> set[int]:
        settings = getattr(self.model, "generation_config", None)
        ends = getattr(settings, "eos_token_id", None)
        known = [*(ends if isinstance(ends, (list, tuple)) else [ends]), self.tokenizer.eos_token_id]
        return {int(end) for end in known if end is not None}

    @torch.no_grad()
    def _sample(
        self,
        ids: list[int],
        n: int,
        temperature: float,
        top_p: float,
        *,
        max_tokens: int,
        stop: Sequence[str],
        seed: int,
    ) -> list[str]:
        if not ids:
            raise ValueError("a prompt of at least one token is needed")
        if n < 1 or temperature < 0 or not 0 < top_p <= 1:
            raise ValueError(f"n ≥ 1, temperature ≥ 0 and 0 < top_p ≤ 1 are needed, got {n}, {temperature}, {top_p}")
        generator = torch.Generator().manual_seed(seed)
        ends, device = self._ends(), self.model.device
        rows: list[list[int]] = [[] for _ in range(n)]
        open_rows = set(range(n))
        step, cache = torch.tensor([ids] * n, device=device), None
        for _ in range(max_tokens):
            out = self.model(input_ids=step, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            tokens = draw(out.logits[:, -1].float().cpu(), temperature, top_p, generator)
            for row in sorted(open_rows):
                token = int(tokens[row])
                if token in ends:
                    open_rows.discard(row)
                    continue
                rows[row].append(token)
                if stop and _first(self._text(rows[row]), stop) >= 0:
                    open_rows.discard(row)
            if not open_rows:
                break
            step = tokens.to(device).unsqueeze(-1)
        texts = [self._text(row) for row in rows]
        places = [_first(text, stop) for text in texts]
        return [text if place < 0 else text[:place] for text, place in zip(texts, places, strict=True)]

    def _text(self, row: list[int]) -> str:
        return str(self.tokenizer.decode(row, skip_special_tokens=True))


def draw(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    """A token for each row [n] of logits [n, V].

    Args:
        temperature: 0 takes the likeliest.
        top_p: keeps the likeliest tokens until their probabilities reach it; the likeliest is always kept.

    Raises:
        EvaluationFailed: a row holds NaN, or no token is possible.
    """
    if bool(torch.isnan(logits).any()) or not bool(torch.isfinite(logits).any(-1).all()):
        raise EvaluationFailed("the model's logits are not finite")
    if temperature == 0:
        return logits.argmax(-1)
    p, order = torch.sort((logits / temperature).softmax(-1), dim=-1, descending=True, stable=True)
    before = p.cumsum(-1) - p
    p = p.masked_fill(before >= top_p, 0.0)
    place = torch.multinomial(p, 1, generator=generator)
    tokens: Tensor = order.gather(-1, place).squeeze(-1)
    return tokens


def _first(text: str, stop: Sequence[str]) -> int:
    """Where the first of the stops begins, −1 when there is none."""
    places = [place for word in stop if word and (place := text.find(word)) >= 0]
    return min(places, default=-1)
