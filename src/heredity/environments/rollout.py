"""A population's episodes, all at once: what every member is worth in a world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from heredity.environments.observation_norm import ObservationNorm
from heredity.environments.policy import BoundPolicy, PopulationPolicy
from heredity.environments.world import World, make_world
from heredity.evaluation.outcome import Failed, Ok

SHRINK = 0.7  # members are dropped from the batch when fewer than this share of it have episodes that go on


@dataclass(frozen=True)
class Episodes:
    """How episodes went; arrays [n members, m episodes].

    Attributes:
        returns: sums of rewards.
        steps: how many; `frames` are steps times the world's frame skip.
        terminated: ended by the world's rules; truncated: cut by the limit or cap.
        failed: an action was not finite; the episode ended there and its return is not to be used.
        behaviour: [n, m, d] the world's description at the end; None where it has none.
    """

    returns: NDArray[np.float64]
    steps: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    behaviour: NDArray[np.float64] | None
    frame_skip: int = 1

    @property
    def total_steps(self) -> int:
        """Of all episodes."""
        return int(self.steps.sum())

    @property
    def frames(self) -> NDArray[np.int64]:
        """Steps times the frame skip."""
        return self.steps * self.frame_skip

    def fitness(self) -> NDArray[np.float64]:
        """Mean return of each member [n]; NaN, a failure, where an episode failed."""
        return np.where(self.failed.any(axis=1), np.nan, self.returns.mean(axis=1))

    def outcomes(self) -> list[Ok | Failed]:
        """One per member: means over its episodes of "return", "steps", "truncated", and "b0", "b1", … of behaviour."""
        out: list[Ok | Failed] = []
        for member in range(len(self.returns)):
            if self.failed[member].any():
                where = int(np.argmax(self.failed[member]))
                out.append(
                    Failed(f"an action of episode {where} is not finite after {self.steps[member, where]} steps")
                )
                continue
            values = {
                "return": float(self.returns[member].mean()),
                "steps": float(self.steps[member].mean()),
                "truncated": float(self.truncated[member].mean()),
            }
            if self.behaviour is not None:
                values |= {f"b{k}": float(b) for k, b in enumerate(self.behaviour[member].mean(axis=0))}
            out.append(Ok(values))
        return out


class Rollout:
    """Evaluate populations of policies in a world.

    Args:
        world: where, or its name (`make_world`).
        policy: the architecture.
        episodes: per member.
        cap: limit on the steps of an episode below the world's own; may be set anew between rollouts.
        norm: running statistics of observations, shared by everybody; they take in what a rollout saw when it is over.
        batch: how many members are stepped together at most; bounds memory.

    Raises:
        ValueError: the policy's outputs do not fit the world's actions.
    """

    def __init__(
        self,
        world: World | str,
        policy: PopulationPolicy,
        *,
        episodes: int = 1,
        cap: int | None = None,
        norm: ObservationNorm | None = None,
        batch: int | None = None,
    ) -> None:
        self.world = make_world(world) if isinstance(world, str) else world
        if episodes < 1 or (batch is not None and batch < 1):
            raise ValueError(f"a rollout needs at least one episode and member, got {episodes} and {batch}")
        self.policy, self.episodes, self.cap, self.norm, self.batch = policy, episodes, cap, norm, batch
        self._check()

    def __call__(self, vectors: Tensor, seed: int | NDArray[np.int64], *, common: bool = False) -> Episodes:
        """Episodes of members with weights [n, P].

        Args:
            seed: of all episodes; or the seeds of episodes themselves [n, m], or [m] for all members alike.
            common: every member meets the same episodes (common random numbers), for fair comparisons.
        """
        seeds = self.seeds(len(vectors), seed, common=common)
        size = self.batch or len(vectors)
        parts = [self._run(vectors[k : k + size], seeds[k : k + size]) for k in range(0, len(vectors), size)]
        if self.norm is not None:
            self._learn(parts)
        joined: dict[str, Any] = {}
        for name in ("returns", "steps", "terminated", "truncated", "failed", "behaviour"):
            pieces = [getattr(part[0], name) for part in parts]
            joined[name] = None if pieces[0] is None else np.concatenate(pieces)
        return Episodes(**joined, frame_skip=self.world.frame_skip)

    def seeds(self, members: int, seed: int | NDArray[np.int64], *, common: bool = False) -> NDArray[np.int64]:
        """Seeds of all episodes [n, m], below 2³¹."""
        shape = (members, self.episodes)
        if isinstance(seed, np.ndarray):
            if seed.shape not in (shape, shape[1:]):
                raise ValueError(f"seeds should have shape {shape} or {shape[1:]}, they have {seed.shape}")
            return np.broadcast_to(seed, shape).astype(np.int64)
        count = self.episodes if common else members * self.episodes
        drawn = np.random.default_rng([seed, int(common)]).integers(2**31, size=count)
        return np.broadcast_to(drawn if common else drawn.reshape(shape), shape).astype(np.int64)

    def _run(self, vectors: Tensor, seeds: NDArray[np.int64]) -> tuple[Episodes, int, Any, Any]:
        """Episodes, and number, sum and sum of squares of the observations."""
        world, norm, (n, m) = self.world, self.norm, seeds.shape
        limit = world.limit if self.cap is None else min(self.cap, world.limit)
        bound = self.policy.bind(vectors)
        seen = world.reset(seeds.reshape(-1)).reshape(n, m, *world.observation)
        members = np.arange(n)  # who is in the batch
        alive = np.ones((n, m), dtype=bool)
        failed = np.zeros((n, m), dtype=bool)
        terminated, returns = failed.copy(), np.zeros((n, m))
        steps = np.zeros((n, m), dtype=np.int64)
        behaviour: Any = None
        count, total, squares = 0, np.zeros(world.observation), np.zeros(world.observation)
        for step in range(1, limit + 1):
            if norm is not None:
                centred = seen[alive[members]].astype(np.float64) - norm.mean
                count += len(centred)
                total += centred.sum(axis=0)
                squares += np.square(centred).sum(axis=0)
                seen = norm(seen)
            actions, bad = self._decide(bound, seen)
            going = alive[members]
            failed[members] |= bad & going
            going &= ~bad
            seen, rewards, ended = world.step(actions, going.reshape(-1))
            seen = seen.reshape(len(members), m, *world.observation)
            returns[members] += np.where(going, rewards.reshape(-1, m), 0.0)
            ended = ended.reshape(-1, m) & going
            terminated[members] |= ended
            steps[members] += going
            going &= ~ended
            over = alive[members] if step == limit else alive[members] & ~going
            if over.any():
                behaviour = self._describe(behaviour, members, over, (n, m))
            alive[members] = going
            left = going.any(axis=1)
            if not left.any() or step == limit:
                break
            if left.mean() < SHRINK:
                kept = np.flatnonzero(left)
                rows = (kept[:, None] * m + np.arange(m)).reshape(-1)
                world.keep(rows)
                bound.keep(kept)
                members, seen = members[kept], seen[kept]
        episodes = Episodes(returns, steps, terminated, alive, failed, behaviour, world.frame_skip)
        return episodes, count, total, squares

    def _decide(self, bound: BoundPolicy, seen: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Actions [n·m] or [n·m, d], and where [n, m] the outputs are not finite."""
        out = bound(seen)
        bad: NDArray[np.bool_] = np.logical_not(np.isfinite(out).all(axis=2))
        if bad.any():
            out = np.where(bad[:, :, None], np.float32(0), out)
        actions = self.world.actions
        flat = out.reshape(-1, out.shape[2])
        if actions.count:
            return flat.argmax(axis=1), bad
        return np.clip(flat, np.array(actions.low, np.float32), np.array(actions.high, np.float32)), bad

    def _describe(
        self, known: Any, members: NDArray[np.int64], over: NDArray[np.bool_], shape: tuple[int, int]
    ) -> NDArray[np.float64] | None:
        """Take in the behaviour of the episodes that are over."""
        now = self.world.behaviour()
        if now is None:
            return None
        if known is None:
            known = np.zeros((*shape, now.shape[1]))
        known[members] = np.where(over[:, :, None], now.reshape(*over.shape, -1), known[members])
        return known  # type: ignore[no-any-return]

    def _learn(self, parts: list[tuple[Episodes, int, Any, Any]]) -> None:
        assert self.norm is not None
        count = sum(part[1] for part in parts)
        total = sum(part[2] for part in parts)
        self.norm.update(count, total + count * self.norm.mean, sum(part[3] for part in parts))

    def _check(self) -> None:
        """Run one member's network on zeros, so that a wrong size is said before the first episode."""
        zeros = np.zeros((1, 1, *self.world.observation), dtype=np.float32)
        wanted = self.world.actions.size
        try:
            found = self.policy.bind(self.policy.params.start[None])(zeros).shape[2]
        except RuntimeError as error:
            raise ValueError(
                f"the policy cannot see observations of shape {self.world.observation} of {self.world.name}: {error}"
            ) from error
        if found != wanted:
            raise ValueError(f"{self.world.name} needs {wanted} outputs of a policy, this one has {found}")
