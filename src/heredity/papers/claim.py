"""A claim: the protocol of a check, fixed before its first run, as plain data with a hash.

Arms × worlds × seeds are cells. A cell is a recorded trial: a birth in a lab, with measurements. The code of a trial is
named by its import path, so that reading a card imports nothing heavy; the verdict's rule is data too and is evaluated
in one place, `heredity.papers.verdict`.

Every field of a claim enters its hash, which is stored with the result: a result whose hash is not the card's was made
by another protocol. A field that is added later to a class of this module must be declared with
metadata={"added": True}: left at its default it stays out of the hash, and committed results stay valid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from heredity.lab.canonical import digest

if TYPE_CHECKING:
    from heredity.lab import Model, Probe, Request

Setting: TypeAlias = "str | int | float | bool | tuple[Setting, ...] | None"
Settings: TypeAlias = Mapping[str, Setting]
ScaleName = Literal["small", "medium", "full"]
Direction = Literal["higher", "lower"]
ArmRole = Literal["tested", "baseline", "ablation", "information"]
Weight = Literal["required", "veto", "reported"]


@dataclass(frozen=True)
class Arm:
    """One thing that is compared.

    Args:
        name: short, unique.
        about: what it is, in a few words.
        role: "tested" is the paper's method; "information" may use more than the others do.
        settings: what its trial reads.
    """

    name: str
    about: str
    role: ArmRole = "baseline"
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How large a run is; results of different scales are never mixed.

    Args:
        name: small (5 minutes on 2 cores), medium (a GPU or an evening), full (the paper's).
        seeds: how many.
        budget: what it takes, in words, with the machine.
        settings: what trials read; an arm's own setting of the same name wins.
        arms, worlds: the names that run; None means all.
        needs: what a person must bring before it can run at all; empty when `heredity reproduce` runs it as it is.
    """

    name: ScaleName
    seeds: int
    budget: str
    settings: Settings = field(default_factory=dict)
    arms: tuple[str, ...] | None = None
    worlds: tuple[str, ...] | None = None
    needs: str = ""


@dataclass(frozen=True)
class Difference:
    """A sub-claim: `tested` is better than `against` by more than `margin`, in the claim's direction.

    Args:
        name: one short sentence.
        tested: an arm.
        against: an arm, or several: then each of them must be beaten, and the hardest is shown.
        metric: another than the claim's; direction: its direction.
        world: only this one; None pools all.
        margin: in the metric's unit; negative for "not worse by more than".
        weight: "required" is part of the rule. "veto" only counts when the interval lies beyond the margin on the
            wrong side: it says "is not beaten". "reported" is printed and never counts.
    """

    name: str
    tested: str
    against: str | tuple[str, ...]
    metric: str | None = None
    direction: Direction | None = None
    world: str | None = None
    margin: float = 0.0
    weight: Weight = "required"


@dataclass(frozen=True)
class Level:
    """A sub-claim or precondition: the mean of a metric over an arm's cells lies above or below a bound.

    Args:
        name: one short sentence.
        arm: whose cells.
        metric: which value.
        above, below: the bound; exactly one of them.
        world, weight: as in `Difference`.
    """

    name: str
    arm: str
    metric: str
    above: float | None = None
    below: float | None = None
    world: str | None = None
    weight: Weight = "required"

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"the level {self.name!r} needs exactly one of above and below")


@dataclass(frozen=True)
class AllOf:
    """Every part must hold."""

    parts: tuple[Rule, ...]


@dataclass(frozen=True)
class AnyOf:
    """One part that holds is enough."""

    parts: tuple[Rule, ...]


SubClaim: TypeAlias = Difference | Level
Rule: TypeAlias = "SubClaim | AllOf | AnyOf"


@dataclass(frozen=True)
class Pilot:
    """Runs that shaped the set-up before the card was fixed; their seeds are never used again."""

    seeds: tuple[int, ...]
    found: str


@dataclass(frozen=True)
class Claim:
    """The protocol.

    Args:
        says: what is checked, in one sentence.
        setting: data, models, budgets; enough to judge the check without the code.
        trial: import path "module:function" of `def trial(cell: Cell) -> Steps`.
        arms: what is compared.
        metric: the value that decides; direction: which way is better.
        rule: when the claim is confirmed.
        scales: the sizes it can run at.
        metrics: every recorded value by name, with its meaning.
        worlds: tasks or domains that every arm meets; cells are arms × worlds × seeds.
        preconditions: judged by their mean; where one fails the verdict is inconclusive.
        first_seed: cells use first_seed, first_seed + 1, …
        pilots: what was seen before.
        level, resamples: of the bootstrap over cells, in which all worlds of a seed are resampled together.
        correction: "holm" corrects the sub-claims that count for their number.
        clocked: metrics that depend on how fast the machine is; `--check` does not compare them.
        tolerance: how far `--check` may find a value from the committed one on another kind of machine.
        version: raise it when the trial's code changes what a cell gives.
    """

    says: str
    setting: str
    trial: str
    arms: tuple[Arm, ...]
    metric: str
    direction: Direction
    rule: Rule
    scales: tuple[Scale, ...]
    metrics: Mapping[str, str]
    worlds: tuple[str, ...] = ("",)
    preconditions: tuple[Level, ...] = ()
    first_seed: int = 10
    pilots: tuple[Pilot, ...] = ()
    level: float = 0.95
    resamples: int = 10_000
    correction: Literal["holm", "none"] = "holm"
    clocked: tuple[str, ...] = ()
    tolerance: float = 0.03
    version: int = 1

    def __post_init__(self) -> None:
        _check(self)

    @property
    def hash(self) -> str:
        """SHA-256 of the whole protocol."""
        return digest(protocol_form(self))

    def scale(self, name: str) -> Scale:
        """The scale of that name.

        Raises:
            KeyError: the card does not have it.
        """
        return {scale.name: scale for scale in self.scales}[name]  # type: ignore[index]

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def cells(self, scale: str, *, seeds: int | None = None, arms: Sequence[str] | None = None) -> list[Cell]:
        """The cells of a run, seed after seed.

        Args:
            seeds: how many, instead of the card's number; more seeds contain fewer.
            arms: some of them, by name.
        """
        size = self.scale(scale)
        wanted = [arm for arm in self.arms if size.arms is None or arm.name in size.arms]
        wanted = [arm for arm in wanted if arms is None or arm.name in arms]
        worlds = [world for world in self.worlds if size.worlds is None or world in size.worlds]
        count = size.seeds if seeds is None else seeds
        return [
            Cell(arm.name, world, seed, {**size.settings, **arm.settings})
            for seed in range(self.first_seed, self.first_seed + count)
            for world in worlds
            for arm in wanted
        ]


@dataclass(frozen=True)
class Cell:
    """One trial to make: an arm in a world at a seed, with the settings of scale and arm."""

    arm: str
    world: str
    seed: int
    settings: Settings = field(default_factory=dict)

    def setting(self, name: str) -> Any:
        """A setting that the scale or the arm must give.

        Raises:
            KeyError: neither does.
        """
        if name not in self.settings:
            raise KeyError(f"neither the scale nor the arm {self.arm!r} sets {name!r}; known: {sorted(self.settings)}")
        return self.settings[name]


@dataclass(frozen=True)
class Trial:
    """How a trial ends: the cell's own birth, and where its numbers come from.

    Args:
        request: the birth; its child is what the arm made of its parents and the seed.
        measure: probes on the child, run in the same worker; all their values are the cell's.
        notes: names of numbers that the operator notes about the birth (`Child.notes`), the cell's as well.
    """

    request: Request
    measure: tuple[Probe, ...] = ()
    notes: tuple[str, ...] = ()


# What a trial function, `def trial(cell: Cell) -> Steps`, is: a generator that yields lists of births it needs, is sent
# their children, and returns its Trial. Births that several cells ask for are made once.
Steps: TypeAlias = "Generator[Sequence[Request], list[Model], Trial]"


def sub_claims(rule: Rule) -> list[SubClaim]:
    """The leaves of a rule, in order."""
    if isinstance(rule, (AllOf, AnyOf)):
        return [leaf for part in rule.parts for leaf in sub_claims(part)]
    return [rule]


def protocol_form(value: Any) -> Any:
    """Plain JSON of a protocol: class names and fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            item.name: protocol_form(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if not (item.metadata.get("added") and getattr(value, item.name) == item.default)
        }
        return {"is": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {name: protocol_form(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [protocol_form(item) for item in value]
    return value


def _check(claim: Claim) -> None:
    names = [arm.name for arm in claim.arms]
    if len(set(names)) != len(names):
        raise ValueError(f"arms of a claim need different names, got {names}")
    for leaf in [*sub_claims(claim.rule), *claim.preconditions]:
        if isinstance(leaf, Difference):
            against = (leaf.against,) if isinstance(leaf.against, str) else leaf.against
            mentioned, metric = [leaf.tested, *against], leaf.metric or claim.metric
        else:
            mentioned, metric = [leaf.arm], leaf.metric
        for name in mentioned:
            if name not in names:
                raise ValueError(f"{leaf.name!r} speaks of the arm {name!r}; the claim has {', '.join(names)}")
        if metric not in claim.metrics:
            raise ValueError(f"{leaf.name!r} speaks of the metric {metric!r}, which the card does not explain")
        if leaf.world is not None and leaf.world not in claim.worlds:
            raise ValueError(f"{leaf.name!r} speaks of the world {leaf.world!r}; the claim has {claim.worlds}")
    if all(leaf.weight != "required" for leaf in sub_claims(claim.rule)):
        raise ValueError("nothing decides: a rule needs a required sub-claim")
    if claim.metric not in claim.metrics:
        raise ValueError(f"the card does not explain its metric {claim.metric!r}")
    if len({scale.name for scale in claim.scales}) != len(claim.scales):
        raise ValueError("a claim has each scale once")
    used = {claim.first_seed + i for scale in claim.scales for i in range(scale.seeds)}
    spent = used & {seed for pilot in claim.pilots for seed in pilot.seeds}
    if spent:
        raise ValueError(f"seeds {sorted(spent)} were used by a pilot; choose another first_seed")
