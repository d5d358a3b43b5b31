"""Trials of the claims on merging: ancestor, experts, then one strategy on one task."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias

from heredity.data.composed import (
    DARKEN,
    EIGHT_FOUNDERS,
    FOG,
    MOVE,
    NOISE,
    OCCLUSION,
    ROTATE_LEFT,
    ROTATE_RIGHT,
    SHEAR,
)
from heredity.data.experts import FounderSpec
from heredity.data.operators import LearnShift, TrainAncestor
from heredity.data.shifts import Shift
from heredity.lab import Model, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds import merge_strategies
from heredity.papers.testbeds.digit_experts import DigitTask, Shifts, TaskAccuracy
from heredity.papers.testbeds.lora_experts import AdaptToShift
from heredity.papers.testbeds.merge_search import SearchMerge

Family: TypeAlias = "Generator[Sequence[Request], list[Model], tuple[Model, list[Model]]]"

# Every second pair of the ring: each of the eight shifts is in exactly one task, so that no expert is favoured.
FOUR_TASKS: dict[str, Shifts] = {
    "rotate-left, darken": (ROTATE_LEFT, DARKEN),
    "shear, noise": (SHEAR, NOISE),
    "rotate-right, occlusion": (ROTATE_RIGHT, OCCLUSION),
    "shift, fog": (MOVE, FOG),
}

QUARTER_TURN, NEGATIVE, BLUR = Shift("rotate90", 1.0), Shift("invert", 1.0), Shift("box_blur", 1.0)
LOW, HIGH = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
# The domain without half of the skill, the skill without the domain, and one more.
DOMAIN_AND_SKILL: tuple[FounderSpec, ...] = (
    FounderSpec("domain", (QUARTER_TURN, NEGATIVE), LOW),
    FounderSpec("skill", ()),
    FounderSpec("extra", (BLUR,), HIGH),
)
TURNED_NEGATIVE: Shifts = (QUARTER_TURN, NEGATIVE)


def new_task(cell: Cell) -> Steps:
    """Eight experts of one shift each meet two shifts at once: the claim of arXiv 2503.01155."""
    ancestor, experts = yield from _family(cell, EIGHT_FOUNDERS, hidden=2)
    if cell.settings.get("adapters"):
        experts = yield [
            Request(AdaptToShift(spec, world=cell.seed), (ancestor,), seed=cell.seed * 1000 + number)
            for number, spec in enumerate(EIGHT_FOUNDERS)
        ]
    shifts = FOUR_TASKS[cell.world]
    others = tuple(other for name, other in FOUR_TASKS.items() if name != cell.world)
    probe = TaskAccuracy(DigitTask(shifts, cell.seed), others=others)
    return Trial(_search(cell, shifts, ancestor, experts), (probe,), ("evaluations",))


def crossed_domains(cell: Cell) -> Steps:
    """Classes that one parent knows, in a domain that another knows: the claim of arXiv 2403.13187."""
    ancestor, experts = yield from _family(cell, DOMAIN_AND_SKILL, hidden=cell.setting("hidden"))
    probe = TaskAccuracy(DigitTask(TURNED_NEGATIVE, cell.seed), classes=HIGH)
    return Trial(_search(cell, TURNED_NEGATIVE, ancestor, experts), (probe,), ("evaluations",))


def _family(cell: Cell, specs: Sequence[FounderSpec], hidden: int) -> Family:
    """The ancestor and its experts, of the cell's seed; the same births for all arms."""
    widths = (64, *(512,) * hidden, 10)
    (ancestor,) = yield [Request(TrainAncestor(widths, world=cell.seed), seed=cell.seed)]
    experts = yield [
        Request(LearnShift(spec, world=cell.seed), (ancestor,), seed=cell.seed * 1000 + number)
        for number, spec in enumerate(specs)
    ]
    return ancestor, experts


def _search(cell: Cell, shifts: Shifts, ancestor: Model, experts: Sequence[Model]) -> Request:
    strategy = getattr(merge_strategies, cell.setting("strategy"))
    shared = ("strategy", "evaluations", "hidden", "adapters")
    own = {name: value for name, value in cell.settings.items() if name not in shared}
    adapters = bool(cell.settings.get("adapters", False))
    operator = SearchMerge(strategy, DigitTask(shifts, cell.seed), cell.setting("evaluations"), own, adapters)
    # The child's weights are rebuilt from the record when somebody wants them.
    return Request(operator, tuple(experts), {"base": ancestor}, seed=cell.seed, keep=False)
