"""A small causal transformer over whole numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from heredity.lab.architecture import architecture


class _Layer(nn.Module):
    """Attention and an MLP, each after a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, tail: int) -> Tensor:
        """[B, T, width] → [B, tail, width]: the last places only, which see all before them."""
        batch, length, width = x.shape
        parts = self.mixed(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0][:, :, length - tail :], parts[1], parts[2]
        places = torch.arange(length, device=x.device)
        seen = places[None, :] <= places[length - tail :, None]
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x[:, length - tail :] + self.joined(mixed.transpose(1, 2).reshape(batch, tail, width))
        return x + self.outer(nn.functional.gelu(self.inner(self.norm2(x))))  # type: ignore[no-any-return]


@architecture
class NumberTransformer(nn.Module):
    """A causal transformer; tokens 0 … numbers − 1 are numbers, further ones symbols.

    Numbers begin as sines and cosines of their size, so that neighbours are alike before any training.

    Args:
        numbers, symbols: of the vocabulary. length: T at most. width, heads, layers: of the network.
    """

    def __init__(
        self, numbers: int, symbols: int = 2, length: int = 48, *, width: int = 64, heads: int = 4, layers: int = 2
    ) -> None:
        super().__init__()
        self.numbers, self.length = numbers, length
        self.embed = nn.Embedding(numbers + symbols, width)
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.layers = nn.ModuleList([_Layer(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, numbers)
        with torch.no_grad():
            self.embed.weight.mul_(0.5)
            self.embed.weight[:numbers] = sinusoids(numbers, width)

    def forward(self, tokens: Tensor, tail: int | None = None) -> Tensor:
        """Logits over numbers for what follows the last `tail` places [B, tail, numbers]; all by default."""
        length = tokens.shape[1]
        if length > self.length:
            raise ValueError(f"this model reads {self.length} tokens at most, got {length}")
        tail = length if tail is None else tail
        x = self.embed(tokens) + self.places[:length]
        for k, layer in enumerate(self.layers):
            x = layer(x, tail if k == len(self.layers) - 1 else length)
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    @torch.no_grad()
    def answer(self, tokens: Tensor, count: int, batch: int = 1024) -> Tensor:
        """The likeliest `count` numbers after each row [B, T], one after the other [B, count]."""
        found = []
        for start in range(0, len(tokens), batch):
            rows = tokens[start : start + batch]
            for _ in range(count):
                rows = torch.cat([rows, self(rows, 1)[:, 0].argmax(-1, keepdim=True)], dim=1)
            found.append(rows[:, -count:])
        return torch.cat(found)


def sinusoids(count: int, width: int) -> Tensor:
    """[count, width] sines and cosines of 0 … count − 1 with periods from 2π to 2π · count, geometrically."""
    pairs = width // 2
    periods = torch.exp(torch.arange(pairs) / max(1, pairs - 1) * math.log(max(2, count)))
    angles = torch.arange(count)[:, None] / periods
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    return nn.functional.pad(waves, (0, width - 2 * pairs))
