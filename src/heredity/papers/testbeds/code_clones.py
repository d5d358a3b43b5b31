"""Is this function that one in disguise? Pairs of Python functions as sequences of cached, contextual vectors.

One birth holds everything: a small transformer is trained by masked language modelling on the training packages,
frozen, and reads all functions; its vectors are projected to few dimensions and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.data.code_edits import functions
from heredity.data.code_pairs import code_pairs
from heredity.data.corpus import Corpus, python_source
from heredity.errors import MissingExtra
from heredity.lab import Child, Context, Operator, Parents

PAD, MASK = 0, 1
MASKED = 0.15
PARTS = ("train", "valid", "test")
SIDES = ("first", "second")


class CodeEncoder(nn.Module):
    """Token ids [B, T] → vectors [B, T, D], by a transformer with learned positions.

    Args:
        vocabulary, length: how many tokens there are, and how many it reads.
        dim, layers, heads: of the transformer.
    """

    def __init__(self, vocabulary: int, length: int = 64, dim: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.tokens = nn.Embedding(vocabulary, dim, padding_idx=PAD)
        self.positions = nn.Parameter(0.02 * torch.randn(length, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of the tokens; padding is not looked at."""
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        out: Tensor = self.layers(x, src_key_padding_mask=ids == PAD)
        return out


@dataclass(frozen=True)
class ClonePairs(Operator):
    """The world of the claim: for each part and side the vectors [N, T, D] of its functions, their lengths, labels.

    Notes the shares of positives, and how well the encoder guesses masked tokens of validation functions.

    Args:
        pairs: how many of each part.
        positive: share of disguises.
        split: of the standard library by package.
        vocabulary, length: of the byte-pair encoding, and how many tokens of a function are read.
        every: how many neighbouring tokens are averaged to one vector of the sequences.
        dim: of the kept vectors, the first principal components of the training functions' vectors.
        steps: of masked language modelling, with batches of 64.
    """

    pairs: tuple[int, int, int] = (3000, 600, 1200)
    positive: float = 0.12
    split: tuple[float, float, float] = (0.6, 0.15, 0.25)
    vocabulary: int = 2000
    length: int = 64
    every: int = 4
    dim: int = 24
    steps: int = 700
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Draw the pairs, train the encoder, keep what it makes of them."""
        corpus = python_source(split=self.split, by="package", seed=context.seed)
        parts = dict(zip(PARTS, code_pairs(corpus, self.pairs, self.positive, context.seed), strict=True))
        texts = {(part, side): getattr(parts[part], side) for part in PARTS for side in SIDES}
        training = [function.code for function in functions(corpus.train, (3, 60))]
        encode = _tokenizer(training, self.vocabulary)
        encoder, guessed = self._encoder(encode(training, self.length), encode(_valid(corpus), self.length), context)
        tensors: dict[str, Tensor] = {f"encoder.{name}": t.clone() for name, t in encoder.state_dict().items()}
        ids = {key: encode(codes, self.length) for key, codes in texts.items()}
        vectors = {key: _read(encoder, tokens) for key, tokens in ids.items()}
        known = torch.cat([vectors["train", side][ids["train", side] != PAD] for side in SIDES])
        center = known.mean(0)
        directions = torch.linalg.svd(known[:: max(1, len(known) // 20_000)] - center, full_matrices=False)[2]
        basis = directions[: self.dim].T
        scale = ((known - center) @ basis).std()
        for (part, side), raw in vectors.items():
            kept, lengths = _pooled((raw - center) @ basis / scale, ids[part, side] != PAD, self.every)
            tensors[f"{part}.{side}"], tensors[f"{part}.{side}.length"] = kept, lengths
        for part in PARTS:
            tensors[f"{part}.label"] = torch.tensor(parts[part].label)
        shares = {f"{part}_positive": float(np.mean(parts[part].label)) for part in PARTS}
        return Child(tensors, notes={**shares, "masked_accuracy": guessed, "origin": list(corpus.origin)})

    def _encoder(self, train: Tensor, valid: Tensor, context: Context) -> tuple[CodeEncoder, float]:
        generator = context.generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            encoder = CodeEncoder(self.vocabulary, self.length)
        adam = torch.optim.AdamW(encoder.parameters(), lr=2e-3, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, total_steps=self.steps, pct_start=0.1)
        for step in range(self.steps):
            batch = train[torch.randint(len(train), (64,), generator=generator)]
            logits, targets = _guess(encoder, batch, generator)
            loss = functional.cross_entropy(logits, targets)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            adam.step()
            schedule.step()
            context.progress(step + 1, self.steps)
        encoder.eval()
        with torch.no_grad():
            logits, targets = _guess(encoder, valid[:512], generator)
        return encoder, float((logits.argmax(1) == targets).double().mean())


@dataclass(frozen=True)
class Side:
    """Vectors [N, T, D] and mask [N, T] of one side of some pairs."""

    x: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Clones:
    """Pairs of one part: both sides, and labels [N] in {0, 1}."""

    first: Side
    second: Side
    label: Tensor

    def at(self, places: Tensor) -> Clones:
        """Some of the pairs."""
        sides = [Side(side.x[places], side.mask[places]) for side in (self.first, self.second)]
        return Clones(sides[0], sides[1], self.label[places])


def clones(world: Mapping[str, Tensor], part: str) -> Clones:
    """A part of a `ClonePairs` birth's weights."""
    sides = []
    for side in SIDES:
        x, lengths = world[f"{part}.{side}"].float().clone(), world[f"{part}.{side}.length"]
        sides.append(Side(x, torch.arange(x.shape[1]) < lengths[:, None]))
    return Clones(sides[0], sides[1], world[f"{part}.label"].clone())


def logits_of(model: nn.Module, pairs: Clones) -> Tensor:
    """Logits [N] of a `PairClassifier` without encoder."""
    out: Tensor = model(pairs.first.x, pairs.second.x, pairs.first.mask, pairs.second.mask)
    return out


def _valid(corpus: Corpus) -> list[str]:
    return [function.code for function in functions(corpus.valid, (3, 60))]


def _guess(encoder: CodeEncoder, ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Logits and targets of masked tokens."""
    hidden = (torch.rand(ids.shape, generator=generator) < MASKED) & (ids != PAD)
    vectors = encoder(ids.masked_fill(hidden, MASK))[hidden]
    return vectors @ encoder.tokens.weight.T, ids[hidden]


def _tokenizer(texts: Sequence[str], vocabulary: int) -> Callable[[Sequence[str], int], Tensor]:
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingExtra("byte-pair encoding", "hf") from error
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<pad>", "<mask>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)

    def encode(codes: Sequence[str], length: int) -> Tensor:
        rows = [one.ids[:length] for one in tokenizer.encode_batch(list(codes))]
        return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])

    return encode


@torch.no_grad()
def _read(encoder: CodeEncoder, ids: Tensor) -> Tensor:
    return torch.cat([encoder(batch) for batch in torch.split(ids, 256)])


def _pooled(x: Tensor, mask: Tensor, every: int) -> tuple[Tensor, Tensor]:
    """Means of neighbouring tokens' vectors [N, T / every, D], and how many there are."""
    n, length, dim = x.shape
    groups, known = x.view(n, length // every, every, dim), mask.view(n, length // every, every, 1)
    counts = known.sum(2)
    return (groups * known).sum(2) / counts.clamp(min=1), (counts[..., 0] > 0).sum(1)
