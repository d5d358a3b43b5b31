"""`kind: policy`: a network that acts in an environment, evolved by chains of seeds or by a searcher of vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from torch import nn

from heredity.environments.policy import PopulationPolicy
from heredity.environments.rollout import Rollout
from heredity.environments.world import World, make_world
from heredity.errors import EvaluationFailed, MissingExtra, RecipeError
from heredity.evaluation.outcome import Failed
from heredity.lab import Architecture, Context, Model, Probe, Request
from heredity.lab.engine import Evolution
from heredity.recipes.search_schema import PolicySection, SearchRecipe
from heredity.recipes.searcher_names import make, searcher_class
from heredity.recipes.searches import Search, window
from heredity.search.base import Candidate, Searcher
from heredity.search.box import Box
from heredity.search.deep_ga import DeepGA
from heredity.search.operators import Express, SeedRoot
from heredity.search.seedchain import SeedChain

TEST = 1 << 20  # tells the episodes of tests from those that the search sees


class Policy(nn.Sequential):
    """Linear layers with tanh between them.

    Args:
        widths: numbers in an observation, inner layers, numbers that decide the action.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [nn.Linear(inner, outer), nn.Tanh()]
        super().__init__(*layers[:-1])


@dataclass(frozen=True)
class Returns(Probe):
    """Mean return of a policy in episodes that are the same for everybody: `return` and `steps`.

    Args:
        environment: its name, as `make_world` knows it.
        episodes: how many; cap: steps of each at most.
        seed: of the episodes.
        test: other episodes; the mean is called `test` then, with its standard error as `error`.
    """

    environment: str
    episodes: int
    cap: int | None
    seed: int
    test: bool = False

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Act.

        Raises:
            EvaluationFailed: an action is not finite.
        """
        module = model.load()
        policy = PopulationPolicy(module)
        rollout = Rollout(_world(self.environment), policy, episodes=self.episodes, cap=self.cap)
        drawn = np.random.default_rng([self.seed, TEST if self.test else 0])
        went = rollout(policy.params.flatten(module)[None], drawn.integers(2**31, size=self.episodes))
        (outcome,) = went.outcomes()
        if isinstance(outcome, Failed):
            raise EvaluationFailed(outcome.reason)
        if not self.test:
            return {"return": outcome["return"], "steps": outcome["steps"]}
        spread = float(went.returns[0].std(ddof=1)) if self.episodes > 1 else 0.0
        return {"test": outcome["return"], "error": spread / math.sqrt(self.episodes)}


@lru_cache(maxsize=4)
def _world(name: str) -> World:
    """A world that is used again by the evaluations of this process."""
    return make_world(name)


def prepare_policy(recipe: SearchRecipe, section: PolicySection) -> Search:
    """The search of a recipe.

    Raises:
        RecipeError: there is no such environment, or no searcher of that name.
        MissingExtra: the environment needs gymnasium.
    """
    widths = _widths(section)
    root = SeedRoot(Architecture(Policy, {"widths": widths}))
    searcher = _searcher(recipe, section, root)
    express: list[Express] = []

    def birth(candidate: Candidate[Any], evolution: Evolution) -> Request:
        if not express:
            express.append(Express(evolution.lab, root))
        return express[0](candidate)

    parameters = sum(a * b + b for a, b in pairwise(widths))
    probe = Returns(section.environment, section.episodes, section.cap, recipe.seed)
    return Search(
        searcher,
        birth,
        probe,
        {"return": section.direction},
        section.evaluations,
        [
            ("environment", f"{section.environment}, {section.episodes} episodes, the same for all"),
            ("network", f"{'-'.join(map(str, widths))}, {parameters:,} parameters"),
            ("searcher", type(searcher).__name__),
        ],
        what=_words,
        test=Returns(section.environment, section.test_episodes, section.cap, recipe.seed, test=True),
        **window(section.in_flight),
    )


def _widths(section: PolicySection) -> tuple[int, ...]:
    try:
        world = make_world(section.environment)
    except MissingExtra:
        raise
    except Exception as error:  # gymnasium's own errors, which derive from Exception alone
        text = str(error).strip().splitlines()
        raise RecipeError(f"search.environment is {section.environment!r}: {text[0] if text else error}") from error
    size = math.prod(world.observation)
    if len(world.observation) > 1:
        raise RecipeError(
            f"search.environment: {section.environment} shows pictures of shape {world.observation}; "
            "a recipe's networks see vectors"
        )
    widths = (size, *section.hidden, world.actions.size)
    world.close()
    return widths


def _searcher(recipe: SearchRecipe, section: PolicySection, root: SeedRoot) -> Searcher[Any]:
    """A searcher of chains, or one of vectors that begins with the network of the recipe's seed."""
    name = section.searcher.replace("-", "_").lower()
    if name in ("deep_ga", "deepga", "random", "random_search"):
        size = section.population or 50
        # Fitness has no noise, for all act in the same episodes: looking again would tell nothing.
        fixed: dict[str, Any] = {"power": section.sigma, "candidates": 1, "recheck": 0, "cap": None}
        options = dict(section.options)
        if name in ("random", "random_search"):
            fixed["truncation"] = 0
        else:
            fixed["truncation"] = options.pop("truncation", max(1, size // 5))
        chains: Searcher[Any] = make(
            DeepGA, options=options, population=size, seed=recipe.seed, metric="return", **fixed
        )
        return chains
    kind = searcher_class(name, "vectors", also=("deep_ga",))
    vector = root.decoder(cache=0).vector(SeedChain(recipe.seed % 2**32))
    box = Box(start=vector.double().numpy(), scale=section.sigma)
    vectors: Searcher[Any] = make(
        kind,
        box,
        options=section.options,
        population=section.population,
        seed=recipe.seed,
        metric="return",
        dtype=np.float32,
    )
    return vectors


def _words(model: Model) -> str:
    mutations = len(model.path()) - 1
    if model.operator["type"].endswith(":Vector"):
        return f"a vector of {sum(t.numel() for t in model.weights().values()):,} numbers"
    return f"a chain of {mutations} mutations" if mutations != 1 else "a chain of 1 mutation"
