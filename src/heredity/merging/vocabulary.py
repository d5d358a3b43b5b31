"""One vocabulary for several models: a union of their tokenizers, and embeddings moved to it.

Works on `tokenizer.json` as text, so that no tokenizer library is needed. The rule for a token that some model lacks is
mergekit's: the base model's embedding if it has the token, that of the only model that has it, else the mean of those
that have it; zeros for a token that nobody has.
Source: mergekit 0.1 (README, "Tokenizer Configuration").
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from heredity.errors import RecipeError
from heredity.merging.mergekit_schema import ModelRef, TokenizerConfig, TokenSource

if TYPE_CHECKING:
    from torch import Tensor

# The attributes that a plain token added to a fast tokenizer has.
_PLAIN_TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


class Tokenizer:
    """A `tokenizer.json`, cut to the first `limit` ids where the model has fewer embeddings than the file has tokens.

    Raises:
        RecipeError: the folder has no tokenizer.json, or it cannot be cut.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise RecipeError(
                f"{folder} has no tokenizer.json, which tokenizer: needs; leave tokenizer out to copy files"
            )
        try:
            self.data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            self.added: dict[str, dict[str, Any]] = {item["content"]: item for item in self.data["added_tokens"]}
            vocab = self.data["model"]["vocab"]
        except (ValueError, KeyError, TypeError):
            raise RecipeError(f"{file} is not a tokenizer in the form of the tokenizers library") from None
        listed = not isinstance(vocab, dict)
        self.plain: dict[str, int] = {item[0]: i for i, item in enumerate(vocab)} if listed else dict(vocab)
        if limit is not None:
            self._cut(limit, file)
        self.ids: dict[str, int] = self._numbered()  # token to id, added tokens included
        self._next = max(self.ids.values(), default=-1) + 1

    def _numbered(self) -> dict[str, int]:
        return self.plain | {token: int(item["id"]) for token, item in self.added.items()}

    def _cut(self, limit: int, file: Path) -> None:
        beyond = {token for token, index in self._numbered().items() if index >= limit}
        if not beyond:
            return
        self.added = {token: item for token, item in self.added.items() if token not in beyond}
        if beyond & self.plain.keys():
            model = self.data["model"]
            if model.get("type") != "BPE":
                raise RecipeError(f"{file} has {len(beyond)} tokens without embeddings and is no BPE, it cannot be cut")
            self.plain = {token: index for token, index in self.plain.items() if token not in beyond}
            model["vocab"] = self.plain
            pairs = [(merge, merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
            model["merges"] = [m for m, pair in pairs if not beyond & {*pair, "".join(pair)}]

    def add(self, token: str, like: Mapping[str, Any] | None = None) -> None:
        """Append a token with the next free id, with the attributes of `like`; nothing happens when it is there."""
        if token in self.added or (token in self.ids and like is None):
            return
        index = self.ids.setdefault(token, self._next)
        self._next = max(self._next, index + 1)
        self.added[token] = {**(like or _PLAIN_TOKEN), "id": index, "content": token}

    def text(self) -> str:
        """The tokenizer.json of this tokenizer."""
        added = sorted(self.added.values(), key=lambda item: int(item["id"]))
        return json.dumps({**self.data, "added_tokens": added}, ensure_ascii=False, indent=2)


@dataclass(frozen=True)
class Vocabulary:
    """The output's tokenizer and, per model, where its rows come from.

    Attributes:
        tokenizer: the output's tokenizer.
        folder: whose other tokenizer files go with it.
        rows: per model, for each output id the model's own row, or -1.
        size: rows of the output's embeddings, padding included.
        used: ids that hold a token, in order.
        tokens: where a token's embedding comes from, for tokens that the configuration names.
        base: the base model, whose embedding is preferred.
        own: per model, its own ids by token.
    """

    tokenizer: Tokenizer
    folder: Path
    rows: Mapping[ModelRef, Tensor]
    size: int
    used: Tensor
    tokens: Mapping[int, TokenSource]
    base: ModelRef | None
    own: Mapping[ModelRef, Mapping[str, int]]

    def move(self, tensors: Mapping[ModelRef, Tensor]) -> dict[ModelRef, Tensor]:
        """Embeddings of the output's vocabulary, per model.

        Args:
            tensors: per model, rows by its own ids: [V_model, ...]; equal but for the first axis.
        """
        width = {tuple(tensor.shape[1:]) for tensor in tensors.values()}
        if len(width) != 1:
            raise RecipeError(f"embeddings have different widths: {sorted(width)}")
        first = next(iter(tensors.values()))
        rows = {model: self.rows[model].clone() for model in tensors}
        for model, tensor in tensors.items():
            rows[model][rows[model] >= tensor.shape[0]] = -1
        fallback = first.new_zeros((self.size, *first.shape[1:]))
        self._fill_fallback(fallback, rows, tensors)
        forced = torch.tensor([i for i, source in self.tokens.items() if source.force], dtype=torch.long)
        moved = {}
        for model, tensor in tensors.items():
            own = (rows[model] >= 0).nonzero().flatten()
            embedding = fallback.clone()
            embedding[own] = tensor[rows[model][own]]
            embedding[forced] = fallback[forced]
            if self.size > len(self.used):  # rows without a token, padding among them, get the mean of the others
                unused = torch.ones(self.size, dtype=torch.bool)
                unused[self.used] = False
                embedding[unused] = embedding[self.used].float().mean(dim=0).to(embedding.dtype)
            moved[model] = embedding
        return moved

    def _fill_fallback(
        self, fallback: Tensor, rows: Mapping[ModelRef, Tensor], tensors: Mapping[ModelRef, Tensor]
    ) -> None:
        has = torch.stack([rows[model] >= 0 for model in tensors])
        count = has.sum(dim=0)
        for model in tensors:  # the only owner, or the base
            take = (rows[model] >= 0) & ((count == 1) if model != self.base else (count > 0))
            where = take.nonzero().flatten()
            fallback[where] = tensors[model][rows[model][where]]
        mean = count > 1
        if self.base is not None and self.base in rows:
            mean &= rows[self.base] < 0
        where = mean.nonzero().flatten()
        if len(where):
            total = torch.zeros((len(where), *fallback.shape[1:]), dtype=torch.float32)
            for model, tensor in tensors.items():
                own = rows[model][where]
                total[own >= 0] += tensor[own[own >= 0]].float()
            total /= count[where].reshape(-1, *[1] * (total.dim() - 1))
            fallback[where] = total.to(fallback.dtype)
        for index, source in self.tokens.items():
            if source.kind != "default":
                fallback[index] = self._named(index, source, rows, tensors)

    def _named(
        self, index: int, source: TokenSource, rows: Mapping[ModelRef, Tensor], tensors: Mapping[ModelRef, Tensor]
    ) -> Tensor:
        if source.kind == "zero" or source.model is None:
            return torch.zeros_like(next(iter(tensors.values()))[0])
        if source.model not in tensors:
            raise RecipeError(
                f"tokenizer.tokens takes an embedding from {source.model}, which is not part of the merge"
            )
        row = int(rows[source.model][index])
        if source.kind == "model_token":
            row = self.own[source.model].get(str(source.token), -1) if source.token_id is None else source.token_id
        if not 0 <= row < tensors[source.model].shape[0]:
            raise RecipeError(f"{source.model} has no embedding for a token that tokenizer.tokens takes from it")
        return tensors[source.model][row]


def build_vocabulary(
    config: TokenizerConfig,
    models: Sequence[tuple[ModelRef, Path, int | None]],
    base: ModelRef | None,
    source_folder: Path | None = None,
) -> tuple[Vocabulary, list[str]]:
    """The output's vocabulary, and notes for the user.

    Args:
        config: what is asked for.
        models: every model, its folder and the size of its embeddings; the first stands in for a missing base.
        base: the base model.
        source_folder: the folder of the model named as the tokenizer's source.
    """
    notes: list[str] = []
    lead = next((item for item in models if item[0] == base), models[0])
    out, folder = Tokenizer(lead[1], lead[2]), lead[1]
    own: dict[ModelRef, Tokenizer] = {lead[0]: Tokenizer(lead[1], lead[2])}
    for model, path, _ in models:
        if model in own:
            continue
        if (path / "tokenizer.json").is_file():
            own[model] = Tokenizer(path)
        else:
            notes.append(f"{model} has no tokenizer.json; it is taken to be that of {lead[0]}")
            own[model] = own[lead[0]]
    sizes = {model: size for model, _, size in models}
    if config.source == "union":
        special = set().union(*(tokenizer.added for tokenizer in own.values()))
        for plain in (True, False):  # added tokens last, with the attributes they carry
            for model, tokenizer in own.items():
                limit = sizes[model]
                for index, token in sorted((index, token) for token, index in tokenizer.ids.items()):
                    inside = limit is None or index < limit
                    if inside and (token not in special if plain else token in tokenizer.added):
                        out.add(token, tokenizer.added.get(token))
    elif config.source != "base":
        assert source_folder is not None
        out, folder = Tokenizer(source_folder), source_folder
    for token in config.tokens:
        out.add(token)
    ids = out.ids
    span = max(ids.values(), default=-1) + 1
    multiple = config.pad_to_multiple_of or 1
    size = -(-span // multiple) * multiple
    rows = {}
    for model, tokenizer in own.items():
        row, limit, mine = torch.full((size,), -1, dtype=torch.long), sizes[model], tokenizer.ids
        for token, index in ids.items():
            old = mine.get(token, -1)
            if limit is None or old < limit:
                row[index] = old
        rows[model] = row
    return Vocabulary(
        tokenizer=out,
        folder=folder,
        rows=rows,
        size=size,
        used=torch.tensor(sorted(set(ids.values())), dtype=torch.long),
        tokens={ids[token]: source for token, source in config.tokens.items()},
        base=base,
        own={model: tokenizer.ids for model, tokenizer in own.items()},
    ), notes
