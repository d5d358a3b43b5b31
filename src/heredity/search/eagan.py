"""EAGAN: the architecture of a generator, then of its discriminator, evolved with shared weights.

Stage 1 trains a supernet of generators against one hand-made discriminator (many to one) and keeps, every few steps,
what is good by inception score, Fréchet distance and size. Stage 2 evolves the discriminator: each candidate owns a
copy of the generator's weights, which it alone trains (one to one), and is judged by what that copy makes.
Source: arXiv 2111.15097 and its released code. Differs from the code, where that is a mistake: copies of weights are
copies; genotypes are checked as a whole; a new discriminator begins with the weights of the best one's generator, as
the paper says; the quality objective is not reversed in selection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from heredity.errors import EvaluationFailed
from heredity.search.gan_cells import DiscriminatorSupernet, GeneratorSupernet
from heredity.search.gan_spaces import HAND_MADE, CellSpace, DSpace, GSpace
from heredity.search.pareto import cars_select
from heredity.search.supernet import Genotype

M = TypeVar("M")
Evaluator: TypeAlias = Callable[[Tensor], Mapping[str, float]]
TRIES = 200
BETAS = (0.0, 0.9)


@dataclass(frozen=True)
class Scored:
    """An architecture with what its images were worth under shared weights; a failure has an infinite distance.

    Args:
        genotype: of it.
        score: inception score; fid: Fréchet distance; size: parameters of the network alone.
    """

    genotype: Genotype
    score: float
    fid: float
    size: int


@dataclass(frozen=True)
class Schedule:
    """How long, in steps of the discriminator; the defaults are the paper's for CIFAR-10.

    Args:
        warmup: steps with random architectures, 40 epochs of 50,000 images.
        interval: steps between two rounds of selection; rounds: how many.
        real, fake: batch sizes of a discriminator's and of a generator's step.
        samples: images that an architecture is judged by.
        g_rate: learning rate of the generator; d_rate, d_rate_2: of the discriminator in stage 1 and 2.
        n_critic: steps of the discriminator for one of the generator in stage 2.
    """

    warmup: int = 50_000
    interval: int = 12_500
    rounds: int = 16
    real: int = 40
    fake: int = 80
    samples: int = 5000
    g_rate: float = 2e-4
    d_rate: float = 4e-5
    d_rate_2: float = 2e-4
    n_critic: int = 5


class EAGAN:
    """Both stages.

    Args:
        images: [N, C, S, S] in [−1, 1].
        evaluator: images → "is" and "fid"; it may raise `EvaluationFailed`.
        generator, discriminator: supernets to train, whose cells fit the spaces.
        gspace, dspace: where genotypes live.
        population: how many are kept.
        schedule: how long.
        evolve: False is random search with the same training: stage 1 draws a new genotype in every step and judges
            as many as evolution would; stage 2 keeps its first population.
        hand_made: the discriminator of stage 1.
        seed: of everything drawn.
    """

    def __init__(  # noqa: PLR0917 - each pair of a net and its space, in the order of the stages
        self,
        images: Tensor,
        evaluator: Evaluator,
        generator: GeneratorSupernet,
        discriminator: DiscriminatorSupernet,
        gspace: GSpace,
        dspace: DSpace,
        *,
        population: int = 32,
        schedule: Schedule | None = None,
        evolve: bool = True,
        hand_made: Genotype = HAND_MADE,
        seed: int = 0,
    ) -> None:
        if population < 4 or population % 2:
            raise ValueError(f"the population is an even number of at least 4, got {population}")
        self.images, self.evaluator = images, evaluator
        self.generator, self.discriminator = generator, discriminator
        self.gspace, self.dspace, self.hand_made = gspace, dspace, hand_made
        self.population, self.schedule, self.evolve = population, schedule or Schedule(), evolve
        self._rng = np.random.default_rng(seed)
        self._torch = torch.Generator().manual_seed(seed)
        self._seed = seed
        self._seen: set[Genotype] = set()
        self.members: list[Genotype] = []
        self.weights: list[dict[str, Tensor]] = []  # of stage 2: each member's generator

    def search_generator(self) -> list[Scored]:
        """Stage 1: the last population, or with random search all that was judged, by Fréchet distance."""
        plan, net = self.schedule, self.generator
        judge = seeded(self._seed, lambda: self.discriminator.alone(self.hand_made[: self.dspace.cells]))
        g_adam = torch.optim.Adam(net.parameters(), plan.g_rate, BETAS, fused=True)
        d_adam = torch.optim.Adam(judge.parameters(), plan.d_rate, BETAS, fused=True)
        self.members = [self._new(self.gspace) for _ in range(self.population)]
        scored: list[Scored] = []
        for step in range(plan.warmup + plan.rounds * plan.interval):
            warm = step < plan.warmup or not self.evolve
            genotype = self._new(self.gspace) if warm else self.members[self._rng.integers(self.population)]
            self._train_judge(judge, d_adam, net, genotype)
            self._train_maker(judge, g_adam, net, genotype)
            if self.evolve and step >= plan.warmup and (step + 1 - plan.warmup) % plan.interval == 0:
                offspring = self._offspring(self.gspace, self.members, self.population)
                scored = [self._judged(net, genotype) for genotype in (*self.members, *offspring)]
                scored = [scored[i] for i in self._kept(scored, self.population)]
                self.members = [one.genotype for one in scored]
        if not scored:
            more = self.population * plan.rounds if not self.evolve else 0
            self.members += [self._new(self.gspace) for _ in range(more)]
            scored = [self._judged(net, genotype) for genotype in self.members]
        return sorted(scored, key=lambda one: one.fid)

    def search_discriminator(self, genotype: Genotype) -> list[Scored]:
        """Stage 2, for one generator: the last population of discriminators, by their generators' Fréchet distance."""
        plan, net = self.schedule, self.discriminator
        maker = seeded(self._seed, lambda: self.generator.alone(genotype))
        g_adam = torch.optim.Adam(maker.parameters(), plan.g_rate, BETAS, fused=True)
        d_adam = torch.optim.Adam(net.parameters(), plan.d_rate_2, BETAS, fused=True)
        self._seen.clear()
        self.members = [self._new(self.dspace) for _ in range(self.population)]
        self.weights = []
        blocks, warm_blocks = plan.rounds * plan.interval // plan.n_critic, plan.warmup // plan.n_critic
        for _ in range(warm_blocks):
            self._train_block(maker, self._new(self.dspace), g_adam, d_adam)
        self.weights = [_copied(maker) for _ in range(self.population)]
        scored: list[Scored] = []
        every = max(1, plan.interval // plan.n_critic)
        for block in range(blocks):
            self.train_member(int(self._rng.integers(self.population)), maker, g_adam, d_adam)
            if (block + 1) % every == 0 and (self.evolve or block + 1 == blocks):
                scored = [self._judged_member(maker, i) for i in range(self.population)]
                if self.evolve and block + 1 < blocks:
                    self._next_discriminators(scored)
        if not scored:
            scored = [self._judged_member(maker, i) for i in range(self.population)]
        return sorted(scored, key=lambda one: one.fid)

    def train_member(
        self, i: int, maker: GeneratorSupernet, g_adam: torch.optim.Optimizer, d_adam: torch.optim.Optimizer
    ) -> None:
        """One block of stage 2: member i trains, and its own generator with it."""
        maker.load_state_dict(self.weights[i])
        self._train_block(maker, self.members[i], g_adam, d_adam)
        self.weights[i] = _copied(maker)

    def _train_block(
        self,
        maker: GeneratorSupernet,
        genotype: Genotype,
        g_adam: torch.optim.Optimizer,
        d_adam: torch.optim.Optimizer,
    ) -> None:
        def judge(x: Tensor) -> Tensor:
            out: Tensor = self.discriminator(x, genotype)
            return out

        for _ in range(self.schedule.n_critic):
            self._train_judge(judge, d_adam, maker, None)
        self._train_maker(judge, g_adam, maker, None)

    def _next_discriminators(self, scored: list[Scored]) -> None:
        half = self.population // 2
        kept = self._kept(scored, half)
        best = min(kept, key=lambda i: scored[i].fid)
        base = self.weights[best]
        members = [self.members[i] for i in kept]
        weights = [self.weights[i] for i in kept]
        self.members = members + self._offspring(self.dspace, members, half)
        self.weights = weights + [{name: t.clone() for name, t in base.items()} for _ in range(half)]

    # Training

    def _train_judge(
        self,
        judge: Callable[[Tensor], Tensor],
        adam: torch.optim.Optimizer,
        maker: nn.Module,
        genotype: Genotype | None,
    ) -> None:
        places = torch.randint(len(self.images), (self.schedule.real,), generator=self._torch)
        with torch.no_grad():
            fakes = maker(self._z(self.schedule.real), genotype)
        step(adam, judge_loss(judge(torch.cat([self.images[places], fakes]))))

    def _train_maker(
        self,
        judge: Callable[[Tensor], Tensor],
        adam: torch.optim.Optimizer,
        maker: nn.Module,
        genotype: Genotype | None,
    ) -> None:
        step(adam, -judge(maker(self._z(self.schedule.fake), genotype)).mean())

    def _z(self, n: int) -> Tensor:
        return torch.randn(n, self.generator.z_dim, generator=self._torch)

    # Judging and choosing

    def _judged(self, net: GeneratorSupernet, genotype: Genotype) -> Scored:
        values = self._values(sample_images(net, self.schedule.samples, self._torch, genotype))
        return Scored(genotype, *values, net.size(genotype))

    def _judged_member(self, maker: GeneratorSupernet, i: int) -> Scored:
        maker.load_state_dict(self.weights[i])
        values = self._values(sample_images(maker, self.schedule.samples, self._torch))
        return Scored(self.members[i], *values, self.discriminator.size(self.members[i]))

    def _values(self, images: Tensor) -> tuple[float, float]:
        try:
            found = self.evaluator(images)
        except EvaluationFailed:
            return -np.inf, np.inf
        score, fid = float(found["is"]), float(found["fid"])
        return (score, fid) if np.isfinite(score) and np.isfinite(fid) else (-np.inf, np.inf)

    def _kept(self, scored: list[Scored], n: int) -> list[int]:
        if not any(np.isfinite(one.fid) for one in scored):
            raise EvaluationFailed(f"none of {len(scored)} architectures made images that could be judged")
        target = np.array([one.score for one in scored])
        objectives = [np.array([-one.fid for one in scored]), np.array([-float(one.size) for one in scored])]
        return [int(i) for i in cars_select(target, objectives, n, self._rng, reverse=(False, True))]

    def _offspring(self, space: CellSpace, parents: list[Genotype], n: int) -> list[Genotype]:
        children: list[Genotype] = []
        for _ in range(n):
            for _ in range(TRIES):
                a, b = (parents[i] for i in self._rng.permutation(len(parents))[:2])
                child = space.mutate(a, self._rng) if self._rng.random() < 0.5 else space.crossover(a, b, self._rng)
                if child not in self._seen:
                    break
            self._seen.add(child)
            children.append(child)
        return children

    def _new(self, space: CellSpace) -> Genotype:
        """A genotype not drawn before, as long as there are enough of them."""
        for _ in range(TRIES):
            genotype = space.sample(self._rng)
            if genotype not in self._seen:
                break
        self._seen.add(genotype)
        return genotype


def seeded(seed: int, make: Callable[[], M]) -> M:
    """What `make` makes with first weights drawn from the seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def judge_loss(scores: Tensor) -> Tensor:
    """The discriminator's hinge loss of its scores [2 N] of real images, then of as many made ones."""
    real, fake = scores.chunk(2)
    return (1 - real).relu().mean() + (1 + fake).relu().mean()


def step(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser down a loss."""
    adam.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()


@torch.no_grad()
def sample_images(
    net: GeneratorSupernet, n: int, generator: torch.Generator, genotype: Genotype | None = None, batch: int = 256
) -> Tensor:
    """`n` images [n, C, S, S] of an architecture.

    Batch normalisation is measured anew on one batch first: under shared weights its running statistics are a mixture
    of all architectures, and for averaged weights there are none.
    """
    was = net.training
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches since
    net(torch.randn(batch, net.z_dim, generator=generator), genotype)
    net.eval()
    parts = [
        net(torch.randn(min(batch, n - at), net.z_dim, generator=generator), genotype) for at in range(0, n, batch)
    ]
    net.train(was)
    return torch.cat(parts)


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
