"""Searches for policies in small worlds, by one budget of environment steps, as recorded births.

Policies are MLPs with tanh. Every method reports the same: the champion that it would hand over, tested in episodes
that no search has seen.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from heredity.environments.policy import PopulationPolicy
from heredity.environments.rollout import Episodes, Rollout
from heredity.environments.world import make_world
from heredity.lab import Child, Context, Operator, Parents, Request
from heredity.lab.architecture import Architecture, architecture
from heredity.papers.claim import Cell, Steps, Trial
from heredity.search.base import Candidate
from heredity.search.box import Box
from heredity.search.deep_ga import DeepGA
from heredity.search.novelty import NoveltyArchive, NoveltySearch
from heredity.search.open_es import OpenES
from heredity.search.seedchain import SeedChain, SeedChains, SeedDecoder

Method = Literal["ga", "novelty", "es", "random", "ppo"]
TESTS = 50  # episodes in which a champion is tested
SOLVED = 10.0  # distance from the maze's goal
FAR = float(np.hypot(5, 164))  # from the maze's start to its goal
LOWEST = {"CartPole-v1": 0.0, "Acrobot-v1": -500.0, "LunarLander-v3": -200.0}
SPAN = {"CartPole-v1": 500.0, "Acrobot-v1": 500.0, "LunarLander-v3": 400.0}


@architecture
class Policy(nn.Module):
    """An MLP with tanh between its layers."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.net = mlp(widths)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs […, actions]."""
        return self.net(x)  # type: ignore[no-any-return]


def mlp(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def normalised(world: str, value: float) -> float:
    """A return as a share of what the world's rules allow (LunarLander: from −200 to 200)."""
    return (value - LOWEST[world]) / SPAN[world]


@dataclass
class Found:
    """A champion: its weights, its chain where it has one, and what finding it took."""

    vector: Tensor
    chain: SeedChain | None
    steps: int
    generations: int
    nearest: float = float("inf")  # to the maze's goal, of all that were tried


class Counted:
    """Rollouts in a world that are counted against a budget of steps.

    Args:
        name: of the world.
        hidden: widths of the policy's inner layers.
        budget: environment steps; a batch runs only when it fits even if no episode ends early.
        seed: of the episodes.
    """

    def __init__(self, name: str, hidden: tuple[int, ...], budget: int, seed: int, out_std: float) -> None:
        world = make_world(name)
        self.maze = name == "HardMaze"
        self.widths = (*world.observation, *hidden, world.actions.size)
        self.net = mlp(self.widths)
        self.rollout = Rollout(world, PopulationPolicy(self.net))
        self.decoder = SeedDecoder(self.net, out_std=out_std, cache=64)
        self.budget, self.seed = budget, seed
        self.used = self.batches = 0
        self.nearest = float("inf")

    def fits(self, count: int) -> bool:
        """Whether a batch of that many episodes may run."""
        return self.used + count * self.rollout.world.limit <= self.budget

    def __call__(self, vectors: Tensor) -> Episodes:
        """One episode of each member [n, P]."""
        episodes = self.rollout(vectors, int(np.random.default_rng([self.seed, self.batches]).integers(2**31)))
        self.batches += 1
        self.used += episodes.total_steps
        if self.maze:
            self.nearest = min(self.nearest, -float(np.nanmax(episodes.fitness())))
        return episodes

    @property
    def over(self) -> bool:
        """Whether somebody has reached the maze's goal, which ends a search there."""
        return self.nearest < SOLVED

    def test(self, vector: Tensor) -> float:
        """Mean return in new episodes; one of the maze, where all are alike."""
        count = 1 if self.maze else TESTS
        fresh = np.random.default_rng([self.seed, 2**20]).integers(2**31, size=count)
        tests = Rollout(self.rollout.world, self.rollout.policy, episodes=count)
        return float(tests(vector[None], fresh).fitness()[0])


def chains(run: Counted, search: DeepGA | NoveltySearch[SeedChain]) -> Found:
    """A search of chains: the GA, random search, novelty."""
    asked: list[Candidate[SeedChain]] = search.ask()
    while run.fits(len(asked)) and not run.over:
        search.tell(asked, run(run.decoder.vectors([c.value for c in asked])).outcomes())
        asked = search.ask()
    if search.best is None:
        raise ValueError(f"{run.budget} steps do not suffice for one generation")
    chain = search.best[0].value
    return Found(run.decoder.vector(chain), chain, run.used, search.generation, run.nearest)


def strategy(run: Counted, pairs: int, sigma: float, lr: float, seed: int) -> Found:
    """OpenES from a root like the GA's: its mean is the champion, in the maze the best that was tried."""
    start = run.decoder.vector(SeedChain(seed)).double().numpy()
    search = OpenES(Box(start=start), pairs, sigma, lr, seed=seed, dtype=np.float32)
    while run.fits(2 * pairs) and not run.over:
        x = search.ask_array()
        search.tell_array(run(torch.from_numpy(np.array(x, dtype=np.float32))).fitness())
    champion = search.best[0].value if run.maze and search.best is not None else search.center
    vector = torch.from_numpy(np.array(champion, dtype=np.float32))
    return Found(vector, None, run.used, search.generation, run.nearest)


@dataclass(frozen=True)
class PolicySearch(Operator):
    """The champion of a search within a budget of environment steps.

    The child holds the champion's weights. Notes: "score" (normalised test return; in the maze 1 − nearest / start
    distance), "steps", "generations", "test"; in the maze "nearest" and "solved"; of the GA elsewhere "genome_bytes",
    "identical" (whether another process decodes the chain to the same bits), "compression" and "size".

    Args:
        world: "CartPole-v1", "Acrobot-v1", "LunarLander-v3" or "HardMaze".
        method: the search.
        budget: environment steps, rechecks included.
        hidden: widths of the policy.
        population, truncation, power, candidates, recheck: of the GA; random search shares all but the mutations.
        out_std: of the output layer of roots.
        sigma, lr: of OpenES.
        ppo_steps: a limit on PPO's steps below the budget.
    """

    world: str
    method: Method
    budget: int
    hidden: tuple[int, ...] = (32, 32)
    population: int = 100
    truncation: int = 10
    power: float = 0.05
    candidates: int = 5
    recheck: int = 5
    out_std: float = 0.1
    sigma: float = 0.1
    lr: float = 0.05
    ppo_steps: int | None = None
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search and test."""
        run = Counted(self.world, self.hidden, self.budget, context.seed, self.out_std)
        found = self.search(run, context.seed)
        test = run.test(found.vector)
        notes: dict[str, float] = {"steps": float(found.steps), "generations": float(found.generations), "test": test}
        if run.maze:
            nearest = min(found.nearest, -test)
            notes |= {"nearest": nearest, "solved": float(nearest < SOLVED), "score": 1 - nearest / FAR}
        else:
            notes["score"] = normalised(self.world, test)
        if found.chain is not None and self.method == "ga" and not run.maze:
            notes |= {"genome_bytes": float(found.chain.nbytes()), "identical": float(self._again(run, found))}
            notes["compression"] = compression(found.chain)
            notes["size"] = 1 / notes["compression"]
        weights = {f"net.{name}": tensor for name, tensor in run.decoder.params.state(found.vector).items()}
        return Child(weights, Architecture(Policy, {"widths": run.widths}).spec(), notes)

    def search(self, run: Counted, seed: int) -> Found:
        """The champion.

        Raises:
            MissingExtra: PPO needs stable-baselines3.
        """
        if self.method == "ppo":
            from heredity.papers.testbeds.ppo_baseline import learn

            learn_steps = self.budget if self.ppo_steps is None else min(self.budget, self.ppo_steps)
            vector, steps, nearest = learn(run, learn_steps, seed)
            return Found(vector, None, steps, 0, nearest)
        if self.method == "es":
            return strategy(run, self.population // 2, self.sigma, self.lr, seed)
        if self.method == "novelty":
            archive = NoveltyArchive()
            space = SeedChains(self.power)
            behaviour = [f"b{k}" for k in range(2 if self.world == "HardMaze" else 4)]
            return chains(
                run,
                NoveltySearch(
                    space, self.population, self.truncation, archive, behaviour=behaviour, metric="return", seed=seed
                ),
            )
        truncation = self.truncation if self.method == "ga" else 0
        settings = (self.population, truncation, self.power, self.candidates, self.recheck)
        return chains(run, DeepGA(*settings, seed=seed, metric="return"))

    def _again(self, run: Counted, found: Found) -> bool:
        """Whether another process decodes the champion's chain to the same bits."""
        assert found.chain is not None
        code = (
            "import sys; from heredity.papers.testbeds.policy_search import mlp\n"
            "from heredity.search.seedchain import SeedChain, SeedDecoder\n"
            "widths = tuple(map(int, sys.argv[1].split(',')))\n"
            "decoder = SeedDecoder(mlp(widths), out_std=float(sys.argv[2]))\n"
            "print(decoder.vector(SeedChain.from_bytes(bytes.fromhex(sys.argv[3]))).numpy().tobytes().hex())"
        )
        widths = ",".join(map(str, run.widths))
        command = [sys.executable, "-c", code, widths, repr(self.out_std), found.chain.to_bytes().hex()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return bytes.fromhex(done.stdout) == found.vector.numpy().tobytes()


@dataclass(frozen=True)
class Tasks(Operator):
    """The champions of one method on several tasks, as one cell: the child is that of the first.

    Notes: "score", the mean of the parents'; each parent's under the first word of its world; of chains the least
    "identical" and "compression", and the greatest "size".
    """

    names: tuple[str, ...]
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Put notes together."""
        found = [parent.notes for parent in parents]
        notes = {"score": float(np.mean([each["score"] for each in found]))}
        notes |= {name: float(each["score"]) for name, each in zip(self.names, found, strict=True)}
        notes["steps"] = float(np.mean([each["steps"] for each in found]))
        for name in ("identical", "compression"):
            if all(name in each for each in found):
                notes[name] = float(min(each[name] for each in found))
        if "compression" in notes:
            notes["size"] = 1 / notes["compression"]
        return Child(dict(parents[0].weights()), None, notes)


def trial(cell: Cell) -> Steps:
    """One method in the world "control" (a search per task) or "maze"."""
    method: Any = cell.setting("method")
    if cell.world == "maze":
        yield from ()
        operator = PolicySearch(
            "HardMaze",
            method,
            cell.setting("maze_generations") * 250 * 400,
            hidden=(16,),
            population=250,
            truncation=20,
            power=0.1,
            candidates=1,
            recheck=0,
            out_std=1.0,
            sigma=cell.setting("maze_sigma"),
            lr=cell.setting("maze_lr"),
            ppo_steps=cell.setting("maze_ppo_steps"),
        )
        return Trial(Request(operator, seed=cell.seed), notes=("score", "nearest", "solved", "steps"))
    tasks: tuple[str, ...] = cell.setting("tasks")
    budgets: tuple[int, ...] = cell.setting("budgets")
    sizes = {name: cell.setting(name) for name in ("population", "truncation", "power", "candidates", "recheck")}
    rates = {"sigma": cell.setting("sigma"), "lr": cell.setting("lr")}
    champions = yield [
        Request(PolicySearch(task, method, budget, **sizes, **rates), seed=cell.seed)
        for task, budget in zip(tasks, budgets, strict=True)
    ]
    names = tuple(task.partition("-")[0].lower() for task in tasks)
    chained = ("identical", "compression", "size") if method == "ga" else ()
    return Trial(Request(Tasks(names), champions, seed=cell.seed), notes=("score", *names, "steps", *chained))


def compression(chain: SeedChain) -> float:
    """Bytes of the paper's Atari network over those of the chain, brought to 50 mutations."""
    net = atari_network()
    parameters = sum(p.numel() for p in net.parameters())
    grown = chain
    while len(grown) < 50:
        grown = grown.child(len(grown), 0.002)
    return 4 * parameters / len(SeedChain(grown.root, grown.steps[:50]).to_bytes())


def atari_network(actions: int = 18) -> nn.Module:
    """The paper's large network: three convolutions with same padding and 512 hidden units, 4 million parameters."""
    with torch.device("meta"):
        return nn.Sequential(
            nn.Conv2d(4, 32, 8, 4, padding=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 11 * 11, 512),
            nn.ReLU(),
            nn.Linear(512, actions),
        )
