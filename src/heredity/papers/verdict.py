"""What the numbers of a claim's cells say: the one place where a verdict's rule is evaluated.

A sub-claim compares a mean with a bound, by the bootstrap over seeds (all worlds of a seed are resampled together,
since they share data and parents):

* confirmed: the interval lies beyond the bound on the right side;
* not confirmed: it lies beyond it on the wrong side;
* inconclusive: it covers the bound, cells are missing or failed, or there are fewer than three seeds.

With correction="holm" the sub-claims that count must also stand after Holm's correction for their number. The rule
joins them: all of several is not confirmed as soon as one part is not, and inconclusive when no part is refuted but one
is open; any of several is the reverse. A failed precondition makes the whole inconclusive; the parts are still printed.

Percentile intervals of few seeds are too narrow: of five seeds they cover the mean in 83 % of cases, not in 95 %, of
ten in 90 %. The rule counts as the card fixed it; where Student's interval over the same seeds would decide otherwise,
the sub-claim says so (`doubt`), and more seeds are the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from heredity.evaluation.stats import Estimate, bootstrap, bootstrap_p, holm, student
from heredity.papers.claim import AllOf, AnyOf, Claim, Difference, Direction, Level, Rule, SubClaim, sub_claims

Verdict: TypeAlias = Literal["confirmed", "not confirmed", "inconclusive"]
LEAST_SEEDS = 3
UNDER_HOLM = "does not stand after Holm's correction"


@dataclass(frozen=True)
class CellResult:
    """What one cell gave.

    Args:
        arm, world, seed: which cell.
        values: named numbers; empty when it failed.
        failed: why; None when it did not.
        seconds: wall time of its own birth and measurements.
        model: id of its birth in the lab.
    """

    arm: str
    world: str
    seed: int
    values: Mapping[str, float]
    failed: str | None = None
    seconds: float = 0.0
    model: str | None = None


@dataclass(frozen=True)
class SubVerdict:
    """One sub-claim, judged.

    Args:
        name, weight: from the card.
        verdict: of it alone.
        estimate: the difference (against the hardest arm) or the level; None when it could not be computed.
        bound: what it is compared with; direction: on which side it should lie.
        against: the hardest arm, where there are several.
        p: two-sided, corrected when the card says so; None where there is none.
        note: what stood in the way.
        doubt: what Student's interval says, where that is another verdict before any correction.
    """

    name: str
    weight: str
    verdict: Verdict
    estimate: Estimate | None
    bound: float
    direction: Direction
    against: str | None = None
    p: float | None = None
    note: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class ArmSummary:
    """The mean of a metric over an arm's cells, all worlds together."""

    arm: str
    metric: str
    estimate: Estimate | None
    cells: int
    failed: int


@dataclass(frozen=True)
class Judgement:
    """The verdict and everything that it rests on."""

    verdict: Verdict
    reason: str
    subs: tuple[SubVerdict, ...]
    preconditions: tuple[SubVerdict, ...]
    arms: tuple[ArmSummary, ...]


def judge(claim: Claim, cells: Sequence[CellResult]) -> Judgement:
    """Evaluate a claim's rule on the cells of a run."""
    comparisons = {id(leaf): _comparisons(claim, leaf, cells) for leaf in sub_claims(claim.rule)}
    if claim.correction == "holm":
        _correct(claim, comparisons)
    subs = {key: _hardest(claim, found) for key, found in comparisons.items()}
    preconditions = tuple(_precondition(claim, level, cells) for level in claim.preconditions)
    broken = [level for level in preconditions if level.verdict != "confirmed"]
    judged = tuple(subs[id(leaf)] for leaf in sub_claims(claim.rule))
    verdict = _joined(claim.rule, subs)
    reason = _reason(judged, verdict)
    if broken:
        verdict, reason = "inconclusive", f"precondition not met: {broken[0].name}"
    return Judgement(verdict, reason, judged, preconditions, summaries(claim, cells))


def summaries(claim: Claim, cells: Sequence[CellResult]) -> tuple[ArmSummary, ...]:
    """Mean and interval of the claim's metric for every arm that ran."""
    out = []
    for arm in claim.arms:
        mine = [cell for cell in cells if cell.arm == arm.name]
        if mine:
            good = [cell for cell in mine if claim.metric in cell.values]
            values, seeds = [cell.values[claim.metric] for cell in good], [cell.seed for cell in good]
            estimate = bootstrap(values, cluster=seeds, level=claim.level, n=claim.resamples) if good else None
            out.append(ArmSummary(arm.name, claim.metric, estimate, len(mine), len(mine) - len(good)))
    return tuple(out)


@dataclass(frozen=True)
class _Sample:
    """Numbers of a sub-claim, signed so that larger is better, or why there are none."""

    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    note: str = ""


def _comparisons(claim: Claim, leaf: SubClaim, cells: Sequence[CellResult]) -> list[SubVerdict]:
    """One verdict per arm to beat, or the one of a level."""
    if isinstance(leaf, Level):
        return [_judged(claim, leaf, None, _level_sample(leaf, cells))]
    against = (leaf.against,) if isinstance(leaf.against, str) else leaf.against
    return [_judged(claim, leaf, arm, _paired_sample(claim, leaf, arm, cells)) for arm in against]


def _judged(claim: Claim, leaf: SubClaim, against: str | None, sample: _Sample) -> SubVerdict:
    direction, bound = _side(claim, leaf)
    found = SubVerdict(leaf.name, leaf.weight, "inconclusive", None, bound, direction, against, None, sample.note)
    if not sample.values:
        return found
    estimate = bootstrap(sample.values, cluster=sample.seeds, level=claim.level, n=claim.resamples)
    p = bootstrap_p(sample.values, bound, cluster=sample.seeds, n=claim.resamples)
    found = replace(found, estimate=estimate, p=p)
    if sample.note:
        return found
    if estimate.n < LEAST_SEEDS:
        return replace(found, note=f"{estimate.n} seeds cannot decide; at least {LEAST_SEEDS} are needed")
    verdict = _verdict_of(estimate, bound, direction)
    exact = student(sample.values, cluster=sample.seeds, level=claim.level)
    other = _verdict_of(exact, bound, direction)
    doubt = f"Student's interval [{exact.low:+.3f}, {exact.high:+.3f}]: {other}" if other != verdict else ""
    return replace(found, verdict=verdict, doubt=doubt)


def _side(claim: Claim, leaf: SubClaim) -> tuple[Direction, float]:
    """On which side of what bound the estimate should lie. Differences are signed: larger is better."""
    if isinstance(leaf, Difference):
        return "higher", leaf.margin
    return ("higher", leaf.above) if leaf.above is not None else ("lower", float(leaf.below or 0.0))


def _verdict_of(estimate: Estimate, bound: float, direction: Direction) -> Verdict:
    above, below = estimate.low > bound, estimate.high < bound
    good, bad = (above, below) if direction == "higher" else (below, above)
    return "confirmed" if good else "not confirmed" if bad else "inconclusive"


def _level_sample(leaf: Level, cells: Sequence[CellResult]) -> _Sample:
    mine = [cell for cell in cells if cell.arm == leaf.arm and leaf.world in (None, cell.world)]
    good = [cell for cell in mine if leaf.metric in cell.values]
    note = _missing(leaf.arm, mine, good)
    return _Sample(tuple(cell.values[leaf.metric] for cell in good), tuple(cell.seed for cell in good), note)


def _paired_sample(claim: Claim, leaf: Difference, against: str, cells: Sequence[CellResult]) -> _Sample:
    metric = leaf.metric or claim.metric
    sign = 1.0 if (leaf.direction or claim.direction) == "higher" else -1.0
    sides, note = [], ""
    for arm in (leaf.tested, against):
        mine = [cell for cell in cells if cell.arm == arm and leaf.world in (None, cell.world)]
        good = [cell for cell in mine if metric in cell.values]
        note = note or _missing(arm, mine, good)
        sides.append({(cell.seed, cell.world): cell.values[metric] for cell in good})
    a, b = sides
    pairs = sorted(a.keys() & b.keys())
    if not note and (a.keys() != b.keys()):
        note = f"{leaf.tested} and {against} do not have the same cells"
    return _Sample(tuple(sign * (a[pair] - b[pair]) for pair in pairs), tuple(seed for seed, _ in pairs), note)


def _missing(arm: str, mine: Sequence[CellResult], good: Sequence[CellResult]) -> str:
    if not mine:
        return f"{arm} was not run"
    return "" if len(good) == len(mine) else f"{len(mine) - len(good)} of {len(mine)} cells of {arm} failed"


def _correct(claim: Claim, comparisons: dict[int, list[SubVerdict]]) -> None:
    """Holm over every single comparison that counts; what no longer stands is inconclusive."""
    places = [
        (key, place)
        for key, found in comparisons.items()
        for place, sub in enumerate(found)
        if sub.weight != "reported" and sub.p is not None
    ]
    corrected = holm([comparisons[key][place].p or 0.0 for key, place in places])
    for (key, place), p in zip(places, corrected, strict=True):
        sub = replace(comparisons[key][place], p=p)
        if sub.verdict != "inconclusive" and p >= 1 - claim.level:
            sub = replace(sub, verdict="inconclusive", note=UNDER_HOLM, doubt="")
        comparisons[key][place] = sub


_ORDER: dict[str, int] = {"not confirmed": 0, "inconclusive": 1, "confirmed": 2}


def _hardest(claim: Claim, found: Sequence[SubVerdict]) -> SubVerdict:
    """Every arm must be beaten: the worst verdict counts, of equal ones the smallest difference."""

    def hardness(sub: SubVerdict) -> tuple[int, float]:
        return _ORDER[sub.verdict], sub.estimate.mean if sub.estimate is not None else float("-inf")

    return min(found, key=hardness) if len(found) > 1 else replace(found[0], against=None)


def _precondition(claim: Claim, leaf: Level, cells: Sequence[CellResult]) -> SubVerdict:
    """By the mean alone."""
    sub = _judged(claim, leaf, None, _level_sample(leaf, cells))
    if sub.estimate is None or (sub.note and "failed" in sub.note):
        return replace(sub, verdict="inconclusive", p=None)
    met = sub.estimate.mean > sub.bound if sub.direction == "higher" else sub.estimate.mean < sub.bound
    return replace(sub, verdict="confirmed" if met else "not confirmed", p=None, note="")


def _joined(rule: Rule, subs: Mapping[int, SubVerdict]) -> Verdict:
    if isinstance(rule, (AllOf, AnyOf)):
        parts = [_joined(part, subs) for part in rule.parts if not _only_reported(part)]
        worst_or_best = min if isinstance(rule, AllOf) else max
        return worst_or_best(parts, key=_ORDER.__getitem__)
    sub = subs[id(rule)]
    if sub.weight == "veto" and sub.verdict == "inconclusive" and sub.note in ("", UNDER_HOLM):
        return "confirmed"
    return sub.verdict


def _only_reported(rule: Rule) -> bool:
    return all(leaf.weight == "reported" for leaf in sub_claims(rule))


def _reason(subs: Sequence[SubVerdict], verdict: Verdict) -> str:
    counting = [sub for sub in subs if sub.weight == "required"]
    met = sum(sub.verdict == "confirmed" for sub in counting)
    vetoed = [sub for sub in subs if sub.weight == "veto" and sub.verdict == "not confirmed"]
    told = f"{met} of {len(counting)} required sub-claims confirmed"
    refuted = [sub.name for sub in counting if sub.verdict == "not confirmed"]
    if vetoed and verdict == "not confirmed":
        refuted += [sub.name for sub in vetoed]
    return told + ("; refuted: " + "; ".join(f"“{name}”" for name in refuted) if refuted else "")
