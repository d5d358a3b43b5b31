"""EAGAN's generator and discriminator as supernets of cells.

Source: arXiv 2111.15097 and its released code, of which the numbering of operations is kept. Differs from paper: sizes
are arguments; a cell's cross-scale output is not written in place, so that an edge that is a skip changes no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from heredity.search.supernet import Genotype, MakeOp, MixedOp, Supernet

NORMAL = ("none", "skip", "conv1", "conv3", "conv5", "dil3", "dil5")
UP = ("nearest", "bilinear", "transposed")
DOWN = ("avg", "max", "conv3", "conv5", "dil3", "dil5")
KERNELS = {"conv1": (1, 0, 1), "conv3": (3, 1, 1), "conv5": (5, 2, 1), "dil3": (3, 2, 2), "dil5": (5, 4, 2)}
RESIZED: tuple[Literal["nearest", "bilinear"], ...] = ("nearest", "bilinear", "nearest")  # of older outputs, by cell

Wrap: TypeAlias = Callable[[nn.Module], nn.Module]


def _same(module: nn.Module) -> nn.Module:
    return module


def _conv(name: str, channels: int, stride: int = 1, wrap: Wrap = _same, act: bool = True) -> nn.Module:
    kernel, padding, dilation = KERNELS[name]
    conv = wrap(nn.Conv2d(channels, channels, kernel, stride, padding, dilation))
    return nn.Sequential(nn.ReLU(), conv) if act else nn.Sequential(nn.Identity(), conv)


def _normal(channels: int, wrap: Wrap = _same, act: bool = True) -> list[MakeOp | None]:
    convs: list[MakeOp | None] = [partial(_conv, name, channels, 1, wrap, act) for name in NORMAL[2:]]
    return [None, nn.Identity, *convs]


def _down(channels: int, wrap: Wrap) -> list[MakeOp | None]:
    convs: list[MakeOp | None] = [partial(_conv, name, channels, 2, wrap) for name in DOWN[2:]]
    return [partial(nn.AvgPool2d, 2), partial(nn.MaxPool2d, 2), *convs]


class _Up(nn.Module):
    """Twice the size, by interpolation and a convolution, or by a depth-wise transposed convolution and one."""

    def __init__(self, mode: str, channels: int) -> None:
        super().__init__()
        self.mode = mode
        if mode == "transposed":
            self.grow = nn.ConvTranspose2d(channels, channels, 3, 2, 1, 1, groups=channels, bias=False)
        self.mix = nn.Conv2d(channels, channels, 1, bias=mode != "transposed")

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "transposed":
            out: Tensor = self.mix(self.grow(x.relu()))
        else:
            out = self.mix(functional.interpolate(x, scale_factor=2, mode=self.mode).relu())
        return out


class GeneratorCell(nn.Module):
    """Two up-sampled inputs, node 2 made of them, node 3 of all three. Genes: see `heredity.search.eagan.GSpace`."""

    def __init__(self, channels: int, number: int, genotype: Genotype | None) -> None:
        super().__init__()
        ups: list[MakeOp | None] = [partial(_Up, mode, channels) for mode in UP]
        self.ups = nn.ModuleList(MixedOp(ups, (number, place), genotype) for place in range(2))
        self.edges = nn.ModuleList(MixedOp(_normal(channels), (number, place), genotype) for place in range(2, 7))
        self.older = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(number))

    def forward(self, x: Tensor, genes: tuple[int, ...], older: list[Tensor], mode: str) -> tuple[Tensor, Tensor]:
        """The cell's cross-scale output, node 2, and its output, node 3."""
        nodes = [up(x, gene) for up, gene in zip(self.ups, genes, strict=False)]
        inputs = [self.edges[k](nodes[k], genes[2 + k]) for k in range(2) if genes[2 + k]]
        size = nodes[0].shape[2:]
        inputs += [
            conv(functional.interpolate(one, size=size, mode=mode)) for conv, one in zip(self.older, older, strict=True)
        ]
        nodes.append(torch.stack(inputs).sum(0) if len(inputs) > 1 else inputs[0])
        last = [self.edges[2 + k](nodes[k], genes[4 + k]) for k in range(3) if genes[4 + k]]
        return nodes[2], torch.stack(last).sum(0) if len(last) > 1 else last[0]


class GeneratorSupernet(Supernet):
    """z [N, z_dim] → images [N, out, S, S] in [−1, 1], S = base · 2^cells; every cell takes in its own part of z.

    Args:
        z_dim: at least one number for each cell; cells share it equally.
        channels: of all feature maps.
        base: side of the first.
        cells: how many, each of which doubles the side.
        out: channels of the images.
        genotype: of a network alone.
    """

    def __init__(  # noqa: PLR0917 - the order is the interface
        self,
        z_dim: int = 120,
        channels: int = 256,
        base: int = 4,
        cells: int = 3,
        out: int = 3,
        genotype: Genotype | None = None,
    ) -> None:
        super().__init__({"z_dim": z_dim, "channels": channels, "base": base, "cells": cells, "out": out}, genotype)
        self.z_dim, self.part = z_dim, z_dim // cells
        if self.part < 1:
            raise ValueError(f"{cells} cells need at least as many numbers in z, got z_dim={z_dim}")
        self.maps = nn.ModuleList(nn.Linear(self.part, channels * (base * 2**k) ** 2) for k in range(cells))
        self.cells = nn.ModuleList(GeneratorCell(channels, k, self.genotype) for k in range(cells))
        self.norm = nn.BatchNorm2d(channels, momentum=None)
        self.head = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: Tensor, genotype: Genotype | None = None) -> Tensor:
        """Images of z [N, z_dim]."""
        genes = self.chosen(genotype)
        h: Tensor | None = None
        older: list[Tensor] = []
        for k, (linear, cell) in enumerate(zip(self.maps, self.cells, strict=True)):
            fresh = linear(x[:, k * self.part : (k + 1) * self.part])
            side = math.isqrt(fresh.shape[1] // self.config["channels"])
            fresh = fresh.view(len(x), -1, side, side)
            skip, h = cell(fresh if h is None else h + fresh, genes[k], older, RESIZED[k % 3])
            older.append(skip)
        assert h is not None
        return torch.tanh(self.head(self.norm(h).relu()))


class DiscriminatorCell(nn.Module):
    """Node 1 of node 0, nodes 2 and 3 of both, then perhaps half the side. Genes: `heredity.search.eagan.DSpace`."""

    def __init__(self, channels: int, number: int, genotype: Genotype | None) -> None:
        super().__init__()
        makers = [_normal(channels, spectral_norm, act) for act in (True, True, True, True, False)]
        self.edges = nn.ModuleList(MixedOp(makers[place], (number, place), genotype) for place in range(5))
        self.downs = nn.ModuleList(
            MixedOp(_down(channels, spectral_norm), (number, place), genotype) for place in (5, 6)
        )

    def forward(self, x: Tensor, genes: tuple[int, ...]) -> Tensor:
        """[N, C, S, S] → the same, or half the side."""
        edges = self.edges
        first = edges[0](x, genes[0])
        second = [edges[k](node, genes[k]) for k, node in ((1, x), (2, first)) if genes[k]]
        third = [edges[k](node, genes[k]) for k, node in ((3, first), (4, x)) if genes[k]]
        nodes = [sum(parts[1:], parts[0]) for parts in (second, third)]
        if genes[5] >= 0:
            nodes = [down(node, gene) for down, node, gene in zip(self.downs, nodes, genes[5:], strict=True)]
        out: Tensor = nodes[0] + nodes[1]
        return out


class DiscriminatorSupernet(Supernet):
    """Images [N, in_channels, S, S] → scores [N]; spectral norm everywhere, sums over places at the end.

    Args:
        channels: of all feature maps.
        cells: how many.
        in_channels: of the images.
        genotype: of a network alone.
    """

    def __init__(
        self, channels: int = 128, cells: int = 3, in_channels: int = 3, genotype: Genotype | None = None
    ) -> None:
        super().__init__({"channels": channels, "cells": cells, "in_channels": in_channels}, genotype)
        self.begin = nn.ModuleList(
            spectral_norm(conv)
            for conv in (
                nn.Conv2d(in_channels, channels, 3, padding=1),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.Conv2d(in_channels, channels, 1),
            )
        )
        self.cells = nn.ModuleList(DiscriminatorCell(channels, k, self.genotype) for k in range(cells))
        self.end = spectral_norm(nn.Linear(channels, 1, bias=False))

    def forward(self, x: Tensor, genotype: Genotype | None = None) -> Tensor:
        """Scores of images."""
        genes = self.chosen(genotype)
        first, second, shortcut = self.begin
        h = functional.avg_pool2d(second(first(x).relu()), 2) + shortcut(functional.avg_pool2d(x, 2))
        for cell, own in zip(self.cells, genes, strict=True):
            h = cell(h, own)
        out: Tensor = self.end(h.relu().sum((2, 3)))[:, 0]
        return out
