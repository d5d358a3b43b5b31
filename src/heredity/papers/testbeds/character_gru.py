"""A character model of Python source: several networks of one shape in one stacked run, each with hyperparameters of
its own.

All tensors have a leading dimension for the networks [M, …]; matrix products are batched over it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from heredity.data.corpus import Corpus, Document, python_source

SYMBOLS = "\t\n" + "".join(map(chr, range(32, 127)))
VOCABULARY = len(SYMBOLS) + 1  # the last one for all other characters
BETAS, EPS = (0.9, 0.999), 1e-8
Stack: TypeAlias = dict[str, Tensor]  # name → [M, …]


@dataclass(frozen=True)
class Text:
    """Symbols of training, validation and test modules, int64 [N] each."""

    train: Tensor
    valid: Tensor
    test: Tensor


@lru_cache(maxsize=2)
def python_text(seed: int, train: int, valid: int, test: int) -> Text:
    """Whole modules of the standard library, drawn by the seed until so many characters are reached.

    Modules for training, validation and test never change sides; a seed draws which of them are used.
    """
    corpus = _corpus()
    generator = np.random.default_rng([seed, 1711])
    parts = (corpus.train, corpus.valid, corpus.test)
    drawn = (_drawn(part, size, generator) for part, size in zip(parts, (train, valid, test), strict=True))
    return Text(*drawn)


def initial(seeds: Sequence[int], width: int) -> Stack:
    """New networks: embedding, GRU, output layer, as torch initialises them: uniform within 1 / √width."""
    shapes = {
        "embedding": (VOCABULARY, width),
        "input": (width, 3 * width),
        "hidden": (width, 3 * width),
        "input_bias": (3 * width,),
        "hidden_bias": (3 * width,),
        "output": (width, VOCABULARY),
        "output_bias": (VOCABULARY,),
    }
    bound, rows = 1 / math.sqrt(width), []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append({name: (2 * torch.rand(shape, generator=generator) - 1) * bound for name, shape in shapes.items()})
    weights = {name: torch.stack([row[name] for row in rows]) for name in shapes}
    zeros = {f"{kind}.{name}": torch.zeros_like(w) for kind in ("first", "second") for name, w in weights.items()}
    return {**weights, **zeros, "updates": torch.zeros(len(seeds))}


def chosen(stack: Stack, places: Sequence[int]) -> Stack:
    """Networks with their moments, copied in this order."""
    index = torch.tensor(list(places))
    return {name: tensor[index] for name, tensor in stack.items()}


def weights_of(stack: Stack) -> Stack:
    """Without moments and counters."""
    return {name: tensor for name, tensor in stack.items() if "." not in name and name != "updates"}


def losses(weights: Mapping[str, Tensor], rows: Tensor, keep: Tensor | None = None) -> Tensor:
    """Mean nats per character [M] of rows [M, B, T + 1]; every row begins with a state of zeros.

    Args:
        keep: factors [M, B, T, width] of the GRU's outputs (dropout); None for all ones.
    """
    M, B, steps = rows.shape
    flat = rows[:, :, :-1].reshape(M, -1)
    x = torch.gather(weights["embedding"], 1, flat[..., None].expand(-1, -1, weights["embedding"].shape[2]))
    gates = torch.baddbmm(weights["input_bias"][:, None], x, weights["input"]).view(M, B, steps - 1, -1)
    h = x.new_zeros(M, B, x.shape[2])
    outputs = []
    for t in range(steps - 1):
        u = torch.baddbmm(weights["hidden_bias"][:, None], h, weights["hidden"])
        (r, z, n), (ur, uz, un) = gates[:, :, t].chunk(3, -1), u.chunk(3, -1)
        z = torch.sigmoid(z + uz)
        h = torch.lerp(torch.tanh(n + torch.sigmoid(r + ur) * un), h, z)
        outputs.append(h)
    y = torch.stack(outputs, 2)
    y = (y if keep is None else y * keep).reshape(M, B * (steps - 1), -1)
    logits = torch.baddbmm(weights["output_bias"][:, None], y, weights["output"])
    found = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, :, 1:].reshape(-1), reduction="none")
    return found.view(M, -1).mean(1)


def train(
    stack: Stack,
    text: Tensor,
    rates: Tensor,
    hyper: Mapping[str, Tensor],
    seeds: Sequence[int],
    *,
    batch: int,
    context: int,
) -> None:
    """Steps of AdamW for each network, in place.

    Args:
        stack: networks with their moments.
        text: training symbols [N].
        rates: learning rates [steps, M].
        hyper: `weight_decay`, `dropout` and `clip` (largest norm of the gradient) [M].
        seeds: of each network's batches and of its dropout.
    """
    steps = len(rates)
    names = list(weights_of(stack))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    starts = torch.stack([torch.randint(len(text) - context, (steps, batch), generator=g) for g in generators])
    window = torch.arange(context + 1)
    share = hyper["dropout"][:, None, None, None]
    for step in range(steps):
        rows = text[starts[:, step, :, None] + window]
        drawn = torch.stack([torch.rand(batch, context, stack["output"].shape[1], generator=g) for g in generators])
        leaves = {name: stack[name].detach().requires_grad_() for name in names}
        loss = losses(leaves, rows, (drawn >= share) / (1 - share))
        gradients = torch.autograd.grad(loss.sum(), list(leaves.values()))
        norm = sum(g.flatten(1).square().sum(1) for g in gradients)
        scale = (hyper["clip"] / (torch.as_tensor(norm).sqrt() + 1e-6)).clamp(max=1.0)
        stack["updates"] += 1
        scaled = {n: g * _as(scale, g) for n, g in zip(names, gradients, strict=True)}
        _adamw(stack, scaled, rates[step], hyper["weight_decay"])


@torch.no_grad()
def bits(stack: Stack, text: Tensor, *, context: int) -> Tensor:
    """Bits per character [M] over the whole text, cut into rows of `context` characters."""
    weights, count = weights_of(stack), (len(text) - 1) // context
    rows = text[torch.arange(count)[:, None] * context + torch.arange(context + 1)]
    parts = [
        (losses(weights, part.expand(len(stack["updates"]), -1, -1)), len(part)) for part in torch.split(rows, 256)
    ]
    total = sum(loss.double() * size for loss, size in parts)
    return torch.as_tensor(total) / (count * math.log(2))


def _adamw(stack: Stack, gradients: Stack, rate: Tensor, decay: Tensor) -> None:
    """One update, as torch's AdamW does it, of all networks."""
    b1, b2 = BETAS
    corrections = [1 - beta ** stack["updates"] for beta in BETAS]
    for name, g in gradients.items():
        first, second = stack[f"first.{name}"], stack[f"second.{name}"]
        first.mul_(b1).add_(g, alpha=1 - b1)
        second.mul_(b2).addcmul_(g, g, value=1 - b2)
        change = first / _as(corrections[0], g) / ((second / _as(corrections[1], g)).sqrt() + EPS)
        stack[name].mul_(1 - _as(rate * decay, g)).sub_(_as(rate, g) * change)


def _as(values: Tensor, like: Tensor) -> Tensor:
    """[M] as [M, 1, …]."""
    return values.view([-1] + [1] * (like.dim() - 1))


@lru_cache(maxsize=1)
def _corpus() -> Corpus:
    return python_source(seed=0)


def _drawn(documents: Sequence[Document], size: int, generator: np.random.Generator) -> Tensor:
    places = {symbol: i for i, symbol in enumerate(SYMBOLS)}
    found: list[int] = []
    for k in generator.permutation(len(documents)):
        found += [places.get(character, VOCABULARY - 1) for character in documents[k].text]
        if len(found) >= size:
            return torch.tensor(found[:size])
    raise ValueError(f"these modules hold {len(found)} characters, {size} were asked for")
