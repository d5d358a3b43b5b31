"""Trials of the claim of arXiv 2111.15097: architectures found one way or another, trained from scratch on digits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from heredity.data.digits import all_digits
from heredity.lab import Architecture, Child, Context, Model, Operator, Parents, Request, architecture
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds.digit_features import DigitCNN, DigitFeatures, DigitJudge
from heredity.search.eagan import BETAS, EAGAN, Schedule, judge_loss, sample_images, seeded, step
from heredity.search.gan_cells import DiscriminatorSupernet, GeneratorSupernet
from heredity.search.gan_spaces import HAND_MADE, DSpace, GSpace
from heredity.search.supernet import Genotype

Z = 48
CHANNELS = 8
CELLS = 2
OPERATIONS = (0, 1, 2, 3, 5)  # without kernels of 5: the maps have sides of 2, 4 and 8
G_RATE, D_RATE = 2e-3, 4e-3
BATCH = 32
EMA = 0.98
FEATURES_SEED = 0
DIAGNOSIS_SEED = 50


def generator_space() -> GSpace:
    """Generators of 8 × 8 digits: two cells from a side of 2."""
    return GSpace(CELLS, OPERATIONS)


def discriminator_space() -> DSpace:
    """Discriminators of 8 × 8 digits."""
    return DSpace(CELLS, OPERATIONS, halvings=CELLS)


@architecture
def generator(genotype: Genotype | None = None) -> GeneratorSupernet:
    """All generators, or one."""
    return GeneratorSupernet(Z, CHANNELS, 2, CELLS, 1, genotype=genotype)


def discriminator(genotype: Genotype | None = None) -> DiscriminatorSupernet:
    """All discriminators, or one."""
    return DiscriminatorSupernet(CHANNELS, CELLS, 1, genotype=genotype)


class PlainGenerator(nn.Module):
    """The generator of a DCGAN for 8 × 8 digits: z → 2 × 2 → 4 × 4 → 8 × 8 by transposed convolutions.

    Args:
        channels: of the widest maps.
    """

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        self.z_dim, self.channels = Z, channels
        self.begin = nn.Linear(Z, 4 * channels)
        self.grow = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, 4, 2, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, 4, 2, 1),
        )
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, x: Tensor, genotype: None = None) -> Tensor:
        """Images [N, 1, 8, 8]."""
        h = self.grow(self.begin(x).view(len(x), self.channels, 2, 2))
        return torch.tanh(self.head(self.norm(h).relu()))


class PlainDiscriminator(nn.Module):
    """The discriminator of a DCGAN for 8 × 8 digits, with spectral norm.

    Args:
        channels: of the maps.
    """

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.body = nn.Sequential(
            norm(nn.Conv2d(1, channels, 3, padding=1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(channels, channels, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(channels, channels, 4, 2, 1)),
            nn.LeakyReLU(0.2),
        )
        self.end = norm(nn.Linear(channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N]."""
        out: Tensor = self.end(self.body(x).sum((2, 3)))[:, 0]
        return out


@dataclass(frozen=True)
class SearchGAN(Operator):
    """Both stages of a search; the child is the generator found, with the weights that it has after stage 2.

    The parent is the classifier that judges. Notes the genotypes `generator` and `discriminator`.

    Args:
        evolve: False is random search with the same training, and at least as many judged.
        population, warmup, interval, rounds, samples: as in `heredity.search.eagan`.
    """

    evolve: bool
    population: int = 8
    warmup: int = 150
    interval: int = 60
    rounds: int = 4
    samples: int = 500
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search."""
        plan = Schedule(
            self.warmup, self.interval, self.rounds, BATCH, BATCH, self.samples, G_RATE, D_RATE, D_RATE, n_critic=1
        )
        search = EAGAN(
            all_digits(scale="signed")[0],
            _judge(parents[0]),
            seeded(context.seed, generator),
            seeded(context.seed, discriminator),
            generator_space(),
            discriminator_space(),
            population=self.population,
            schedule=plan,
            evolve=self.evolve,
            hand_made=HAND_MADE,
            seed=context.seed,
        )
        g = search.search_generator()[0].genotype
        d = search.search_discriminator(g)[0].genotype
        weights = search.weights[search.members.index(d)]
        return Child(weights, Architecture(generator, {"genotype": g}).spec(), {"generator": g, "discriminator": d})


@dataclass(frozen=True)
class TrainGAN(Operator):
    """A generator trained from scratch against a discriminator; the child is the mean of its weights over time.

    The birth given as `judge=` is the classifier. Notes `fid` and `score` of `samples` images, `log_fid`, and `size`,
    the generator's parameters.

    Args:
        g, d: genotypes; None for the plain networks.
        steps: of each.
        samples: that it is judged by.
    """

    g: Genotype | None
    d: Genotype | None
    steps: int = 600
    samples: int = 1500
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train."""
        judge = parents.role("judge")
        assert judge is not None
        maker, notes = train_gan(self.g, self.d, self.steps, context.seed, _judge(judge), self.samples)
        plain, own = Architecture(PlainGenerator), Architecture(generator, {"genotype": self.g})
        return Child(maker.state_dict(), (plain if self.g is None else own).spec(), notes)


def train_gan(  # noqa: PLR0917
    g: Genotype | None, d: Genotype | None, steps: int, seed: int, judge: DigitJudge, samples: int
) -> tuple[nn.Module, dict[str, float]]:
    """A trained generator, and what its images are worth."""
    images = all_digits(scale="signed")[0]
    maker: Any = seeded(seed, lambda: PlainGenerator() if g is None else generator(g))
    critic: nn.Module = seeded(seed + 1, lambda: PlainDiscriminator() if d is None else discriminator(d))
    g_adam = torch.optim.Adam(maker.parameters(), G_RATE, BETAS, fused=True)
    d_adam = torch.optim.Adam(critic.parameters(), D_RATE, BETAS, fused=True)
    random, mean = torch.Generator().manual_seed(seed), copy.deepcopy(maker)
    for _ in range(steps):
        with torch.no_grad():
            fakes = maker(torch.randn(BATCH, Z, generator=random))
        real = images[torch.randint(len(images), (BATCH,), generator=random)]
        step(d_adam, judge_loss(critic(torch.cat([real, fakes]))))
        step(g_adam, -critic(maker(torch.randn(BATCH, Z, generator=random))).mean())
        with torch.no_grad():
            for slow, fast in zip(mean.parameters(), maker.parameters(), strict=True):
                slow.lerp_(fast, 1 - EMA)
    found = judge(sample_images(mean, samples, random))
    size = sum(parameter.numel() for parameter in maker.parameters())
    notes = {"fid": found["fid"], "log_fid": float(np.log(found["fid"])), "score": found["is"], "size": float(size)}
    return mean, notes


@dataclass(frozen=True)
class Diagnosis(Operator):
    """Whether there is something to find: how architectures differ, and whether shared weights tell which is good.

    The parent is the judge. Notes `spread`, the deviation of log FID
    between `count` random generators less that between seeds of the first of them; `rank`, Spearman's correlation of
    FIDs under shared weights and alone; and the first network's `fid`, `log_fid`, `score` and `size`.

    Args:
        count: random generators, all against the hand-made discriminator.
        steps: of each alone; shared: of the supernet.
    """

    count: int = 6
    steps: int = 600
    shared: int = 390
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train them all."""
        from scipy.stats import spearmanr

        judge, rng = _judge(parents[0]), np.random.default_rng(context.seed)
        space, d = generator_space(), HAND_MADE[:CELLS]
        genotypes = [space.sample(rng) for _ in range(self.count)]
        alone = [train_gan(g, d, self.steps, context.seed + k, judge, 1500) for k, g in enumerate(genotypes)]
        again = [train_gan(genotypes[0], d, self.steps, context.seed + 100 + k, judge, 1500)[1] for k in range(3)]
        plan = Schedule(self.shared, 1, 0, BATCH, BATCH, 500, G_RATE, D_RATE, D_RATE, n_critic=1)
        net = seeded(context.seed, generator)
        search = EAGAN(
            all_digits(scale="signed")[0],
            judge,
            net,
            seeded(context.seed, discriminator),
            space,
            discriminator_space(),
            population=4,
            schedule=plan,
            seed=context.seed,
        )
        search.search_generator()
        random = torch.Generator().manual_seed(context.seed)
        shared = [judge(sample_images(net, 500, random, g))["fid"] for g in genotypes]
        logs = [notes["log_fid"] for _, notes in alone]
        between = np.std(logs, ddof=1)
        within = np.std([logs[0], *(notes["log_fid"] for notes in again)], ddof=1)
        rank = float(spearmanr(shared, logs).statistic)
        first, notes = alone[0]
        spec = Architecture(generator, {"genotype": genotypes[0]}).spec()
        return Child(first.state_dict(), spec, {**notes, "spread": float(between - within), "rank": rank})


def _judge(model: Model) -> DigitJudge:
    module = model.load()
    assert isinstance(module, DigitCNN)
    return DigitJudge(module.eval())


def _genotype(noted: Any) -> Genotype:
    return tuple(tuple(int(gene) for gene in cell) for cell in noted)


def trial(cell: Cell) -> Steps:
    """The births of one cell: the judge, perhaps a search, then the training that counts."""
    (judge,) = yield [Request(DigitFeatures(), seed=FEATURES_SEED)]
    steps, seed, found = cell.setting("steps"), cell.seed, cell.setting("found_by")
    notes = ("fid", "log_fid", "score", "size")
    if found == "diagnosis":
        return Trial(Request(Diagnosis(steps=steps), (judge,), seed=DIAGNOSIS_SEED), notes=(*notes, "spread", "rank"))
    g: Genotype | None = None
    d: Genotype | None = None
    parents: tuple[Model, ...] = ()
    if found in ("evolution", "random_search"):
        (parent,) = yield [Request(SearchGAN(found == "evolution"), (judge,), seed=seed)]
        g, d, parents = _genotype(parent.notes["generator"]), _genotype(parent.notes["discriminator"]), (parent,)
    elif found == "chance":
        rng = np.random.default_rng(seed)
        g, d = generator_space().sample(rng), discriminator_space().sample(rng)
    if cell.settings.get("hand_made_judge"):
        d = HAND_MADE[:CELLS]
    roles: Mapping[str, Model] = {"judge": judge}
    return Trial(Request(TrainGAN(g, d, steps), parents, roles, seed=seed), notes=notes)
