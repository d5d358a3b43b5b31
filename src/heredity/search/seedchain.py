"""Genomes that are lists of random seeds: a network is its root's seed and the seed and power of every mutation since.

θ = scale ⊙ N(s₀), then θ ← θ + σᵢ N(sᵢ) in the order of the chain, in float32. N(s) is a standard normal vector that
is a function of s alone, so a chain of a few hundred bytes is a network of any size.
Source: Such et al., Deep Neuroevolution (arXiv 1712.06567), section 3.1 and its released code.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from heredity.errors import NonFinite
from heredity.search.base import Space
from heredity.search.seed_noise import Floats, add_noise, noise_table
from heredity.search.vector import FlatParams

SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class SeedChain:
    """A genome: the root's seed, then (seed, power) of each mutation.

    Args:
        root: 0 to 2³² − 1.
        steps: seeds in the same range; powers are rounded to float32, in which they are used.

    Raises:
        ValueError: a seed is out of range, or a power is negative or not finite.
    """

    root: int
    steps: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        steps = tuple((int(seed), float(np.float32(power))) for seed, power in self.steps)
        for seed in (self.root, *(seed for seed, _ in steps)):
            if not 0 <= seed < SEEDS:
                raise ValueError(f"a seed of a chain lies in 0 … 2³² − 1, got {seed}")
        for _, power in steps:
            if not (np.isfinite(power) and power >= 0):
                raise ValueError(f"the power of a mutation is finite and not negative, got {power}")
        object.__setattr__(self, "root", int(self.root))
        object.__setattr__(self, "steps", steps)

    def __len__(self) -> int:
        """How many mutations."""
        return len(self.steps)

    @property
    def parent(self) -> SeedChain | None:
        """The chain without its last mutation; None of a root."""
        return SeedChain(self.root, self.steps[:-1]) if self.steps else None

    def child(self, seed: int, power: float) -> SeedChain:
        """One more mutation."""
        return SeedChain(self.root, (*self.steps, (seed, power)))

    def nbytes(self) -> int:
        """Length of `to_bytes`: 8 for the root, 8 for each mutation."""
        return 8 * (1 + len(self.steps))

    def to_bytes(self) -> bytes:
        """Little-endian: root and number of steps as uint32, then uint32 seed and float32 power of each."""
        flat = [value for step in self.steps for value in step]
        return struct.pack(f"<II{'If' * len(self.steps)}", self.root, len(self.steps), *flat)

    @classmethod
    def from_bytes(cls, content: bytes) -> SeedChain:
        """What `to_bytes` wrote.

        Raises:
            ValueError: the length is not what the number of steps says.
        """
        if len(content) < 8 or len(content) != 8 * (1 + struct.unpack_from("<I", content, 4)[0]):
            raise ValueError(f"{len(content)} bytes are no seed chain: its length and its number of steps disagree")
        root, _, *flat = struct.unpack(f"<II{'If' * (len(content) // 8 - 1)}", content)
        return cls(root, tuple(zip(flat[::2], flat[1::2], strict=True)))


class SeedChains(Space[SeedChain]):
    """The space of all chains, for searchers of any space: a sample is a root, a mutant one step longer.

    Args:
        power: σ of every mutation.

    Chains have no crossover; asking for one is an error.
    """

    def __init__(self, power: float = 0.002) -> None:
        self.power = SeedChain(0, ((0, power),)).steps[0][1]

    def sample(self, rng: np.random.Generator) -> SeedChain:
        """A root."""
        return SeedChain(int(rng.integers(SEEDS)))

    def mutate(self, x: SeedChain, rng: np.random.Generator) -> SeedChain:
        """One more mutation, of a fresh seed."""
        return x.child(int(rng.integers(SEEDS)), self.power)

    def crossover(self, a: SeedChain, b: SeedChain, rng: np.random.Generator) -> SeedChain:
        """Not defined."""
        raise TypeError("seed chains cannot be crossed: a genome is one line of descent")

    def valid(self, x: SeedChain) -> bool:
        """Every chain is."""
        return isinstance(x, SeedChain)


class SeedDecoder:
    """Chains into weights, for one architecture.

    Args:
        template: its parameters decide the layout (`FlatParams`), their shapes the scale of roots.
        init: "fan_in": a root's weights have standard deviation 1/√fan_in, those of the last weight tensor
            out_std/√fan_in, where fan_in counts all dimensions but the first; biases start at 0, and other parameters
            of one dimension (gains of a normalisation) as they are in the template.
            "template": every root is the template, whatever its seed: a search around trained weights.
        out_std: of the last weight tensor.
        noise: "philox", or "table:n": slices of one fixed table of n normal values, as in the released code; faster
            to read than to draw, at 4n bytes of memory, and vectors of different seeds overlap.
        cache: how many vectors of recently decoded chains are kept, so that their children cost one addition.
        threads: that draw noise; the values do not depend on it.

    Raises:
        ValueError: the template has buffers (running statistics, for instance), which a chain cannot move, or the
            table is too short.
    """

    def __init__(
        self,
        template: nn.Module,
        init: Literal["fan_in", "template"] = "fan_in",
        out_std: float = 0.1,
        noise: str = "philox",
        *,
        cache: int = 32,
        threads: int = 1,
    ) -> None:
        if init not in ("fan_in", "template"):
            raise ValueError(f'init must be "fan_in" or "template", got {init!r}')
        self.params = FlatParams(template)
        self.size, self.init, self.cache = self.params.size, init, cache
        self._start, self._scale = _root_law(template, self.params, out_std, init == "template")
        self._length = _table_length(noise, self.size)
        self._kept: OrderedDict[SeedChain, Floats] = OrderedDict()
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def vector(self, chain: SeedChain) -> Tensor:
        """The weights [P] float32 of a chain; a copy.

        Raises:
            NonFinite: powers so large that float32 overflows.
        """
        return torch.from_numpy(self._decode(chain).copy())

    def vectors(self, chains: Sequence[SeedChain]) -> Tensor:
        """The weights of several chains [n, P]."""
        out = np.empty((len(chains), self.size), np.float32)
        for row, chain in zip(out, chains, strict=True):
            row[:] = self._decode(chain)
        return torch.from_numpy(out)

    def state(self, chain: SeedChain) -> dict[str, Tensor]:
        """The full state dict of a chain."""
        return self.params.state(self.vector(chain))

    def load(self, chain: SeedChain, module: nn.Module) -> None:
        """Write a chain's weights into a module."""
        self.params.load(self.vector(chain), module)

    def root(self, seed: int) -> Floats:
        """start + scale ⊙ N(seed) [P]; scale is 0 where every root is the template."""
        if self.init == "template":
            return self._start.copy()
        theta = np.zeros(self.size, np.float32)
        self.add(theta, seed, 1.0)
        theta *= self._scale
        theta += self._start
        return theta

    def add(self, theta: Floats, seed: int, power: float) -> None:
        """theta ← theta + power · N(seed), in place."""
        if self._length:
            start = seed % (self._length - self.size + 1)
            theta += np.float32(power) * noise_table(self._length)[start : start + self.size]
        else:
            add_noise(theta, seed, power, pool=self._pool)

    def _decode(self, chain: SeedChain) -> Floats:
        """The vector of a chain; the caller must not write into it."""
        if chain in self._kept:
            self._kept.move_to_end(chain)
            return self._kept[chain]
        known = max((kept for kept in self._kept if _begins(chain, kept)), key=len, default=None)
        if known is None:
            theta, depth = self.root(chain.root), 0
        else:
            self._kept.move_to_end(known)
            theta, depth = self._kept[known].copy(), len(known)
        for seed, power in chain.steps[depth:]:
            self.add(theta, seed, power)
        if not np.isfinite(theta).all():
            raise NonFinite(
                f"the chain with root {chain.root} and {len(chain)} mutations decodes to weights that overflow"
            )
        if self.cache:
            self._kept[chain] = theta
            while len(self._kept) > self.cache:
                self._kept.popitem(last=False)
        return theta


def _begins(chain: SeedChain, head: SeedChain) -> bool:
    return chain.root == head.root and chain.steps[: len(head)] == head.steps


def _root_law(template: nn.Module, params: FlatParams, out_std: float, as_it_is: bool) -> tuple[Floats, Floats]:
    """Mean and standard deviation of every parameter of a root."""
    shapes = {name: tuple(p.shape) for name, p in template.named_parameters()}
    weights = [name for name in params.names if len(shapes[name]) > 1]
    start = params.start.float().numpy().copy()
    scale = np.zeros(params.size, np.float32)
    place = 0
    for name in params.names:
        shape = shapes[name]
        size = int(np.prod(shape))
        if not as_it_is and len(shape) > 1:
            scale[place : place + size] = (out_std if name == weights[-1] else 1.0) / np.sqrt(np.prod(shape[1:]))
        if not as_it_is and (len(shape) > 1 or name.rpartition(".")[2] == "bias"):
            start[place : place + size] = 0.0
        place += size
    return start, scale


def _table_length(noise: str, size: int) -> int:
    """0 for drawn noise."""
    if noise == "philox":
        return 0
    kind, _, number = noise.partition(":")
    if kind != "table" or not number.isdigit():
        raise ValueError(f'noise must be "philox" or "table:<n>", got {noise!r}')
    if int(number) < size:
        raise ValueError(f"a table of {number} values is shorter than the {size} parameters of the template")
    return int(number)
