"""One page per paper, from its card and its committed results; and the gallery of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.markdown import table
from heredity.evaluation.stats import Estimate
from heredity.papers.card import Paper
from heredity.papers.catalogue import papers
from heredity.papers.claim import AllOf, AnyOf, Claim, Rule, Scale, sub_claims
from heredity.papers.result import Result, committed_result, moved, result_path
from heredity.papers.verdict import SubVerdict

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = "not run"
NO_BREAK = "\u00a0"
SUB_CLAIMS = ("sub-claim", "counts", "estimate", "bound", "p", "verdict", "note")
VERDICTS = ("confirmed", "not confirmed", "inconclusive", NOT_RUN)


def _result(paper: Paper, scale: str = "small") -> Result | None:
    return committed_result(paper, scale, ROOT / "results")


def verdict_of(paper: Paper) -> str:
    """The verdict of the small scale, or that there is none."""
    result = _result(paper)
    return result.verdict if result is not None else NOT_RUN


def section_gallery() -> str:
    """All papers, family by family."""
    parts = []
    known = papers()
    counts = {word: sum(verdict_of(paper) == word for paper in known) for word in VERDICTS}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    parts.append(f"{len(known)} papers: {told}.\n")
    for family in dict.fromkeys(paper.family for paper in known):
        rows = [
            [
                f"[{paper.title}](papers/{paper.slug}.md)",
                str(paper.year),
                paper.sentence,
                verdict_of(paper),
                "; ".join(f"{figure.value} ({figure.source})" for figure in paper.figures) or "none",
            ]
            for paper in known
            if paper.family == family
        ]
        parts.append(f"### {family}\n")
        parts.append(table(("paper", "year", "what it says", "our check, small scale", "the paper's own figure"), rows))
    return "\n".join(parts)


def paper_pages() -> dict[str, str]:
    """The text of every paper's page, by its path below the documentation's folder."""
    return {f"papers/{paper.slug}.md": page(paper) for paper in papers()}


def page(paper: Paper) -> str:
    """One paper."""
    number = f"[{paper.id}]({paper.url})"
    code = f" Its authors' code: <{paper.reference_code}>." if paper.reference_code else ""
    venue = f"{paper.venue}. " if paper.venue else ""
    parts = [
        f"# {paper.title}\n",
        f"{', '.join(paper.authors)} ({paper.year}). {venue}{number}.{code} Family: {paper.family}.\n",
        f"{paper.sentence}\n",
    ]
    claim = paper.claim
    if claim is None:
        parts.append("There is no check yet: only the part exists.\n")
    else:
        results = [(scale, found) for scale in claim.scales if (found := _result(paper, scale.name)) is not None]
        if not results:
            parts.append("## Verdict\n\n**not run**: there is no committed result.\n")
        for scale, result in results:
            parts += list(_result_parts(paper, claim, scale, result))
        parts += list(_protocol(claim))
    parts += list(_words(paper))
    parts.append(f"## Cite\n\n```bibtex\n{paper.bibtex}\n```\n")
    return "\n".join(parts)


def _result_parts(paper: Paper, claim: Claim, scale: Scale, result: Result) -> Iterator[str]:
    suffix = "" if scale.name == "small" else f" ({scale.name})"
    judged = result.judgement
    yield f"## Verdict{suffix}\n"
    yield f"**{result.verdict}** at {scale.name} scale, {len(result.seeds)} seeds: {judged.reason}.\n"
    if moved(claim, result):
        yield "This result was made by another card than today's: run the check again.\n"
    rows = [_sub(sub) for sub in judged.subs]
    told = len(SUB_CLAIMS) if any(row[-1] for row in rows) else len(SUB_CLAIMS) - 1
    yield table(SUB_CLAIMS[:told], [row[:told] for row in rows])
    if judged.preconditions:
        yield "Preconditions, judged by their mean:\n"
        yield table(("precondition", "estimate", "bound", "met"), map(_precondition, judged.preconditions))
    yield f"## Our table{suffix}\n"
    level = f"{claim.level:.0%}".replace("%", " %")
    yield (
        f"{_capital(claim.metrics[claim.metric])} (`{claim.metric}`, {claim.direction} is better); "
        f"mean over cells and {level} interval over seeds.\n"
    )
    yield table(("arm", "role", "what it is", "mean and interval", "cells"), _arms(claim, result), right=(4,))
    figure = result_path(paper, scale.name, ROOT / "results").with_suffix(".png")
    if figure.is_file():
        yield f"![arms and sub-claims of {paper.slug}](../../{figure.relative_to(ROOT).as_posix()})\n"
    yield f"{_conditions(result)}\n"


def _sub(sub: SubVerdict) -> Sequence[str]:
    notes = [f"hardest: `{sub.against}`" if sub.against else "", sub.note]
    p = "" if sub.p is None else "< 0.001" if sub.p < 0.001 else f"{sub.p:.3f}"
    note = "; ".join(filter(None, notes))
    return [sub.name, sub.weight, _estimate(sub.estimate), _bound(sub), p.replace(" ", NO_BREAK), sub.verdict, note]


def _precondition(sub: SubVerdict) -> Sequence[str]:
    met = {"confirmed": "yes", "not confirmed": "no"}.get(sub.verdict, "cannot be told")
    return [sub.name, _estimate(sub.estimate), _bound(sub), met]


def _bound(sub: SubVerdict) -> str:
    return f"{'above' if sub.direction == 'higher' else 'below'}{NO_BREAK}{sub.bound:g}"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "none"
    numbers = (estimate.mean, estimate.low, estimate.high)
    places = 3 if max(map(abs, numbers)) >= 0.1 else 4
    mean, low, high = (f"{number:.{places}f}".replace("-", "−") for number in numbers)
    return f"{mean} [{low}, {high}]".replace(" ", NO_BREAK)


def _arms(claim: Claim, result: Result) -> Iterator[Sequence[str]]:
    for summary in result.judgement.arms:
        arm = claim.arm(summary.arm) if any(arm.name == summary.arm for arm in claim.arms) else None
        about = ("", "") if arm is None else (arm.role, arm.about)
        cells = f"{summary.cells}" + (f" ({summary.failed} failed)" if summary.failed else "")
        yield [f"`{summary.arm}`", *about, _estimate(summary.estimate), cells]


def _conditions(result: Result) -> str:
    machine, spent = result.environment, result.seconds
    versions = ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("heredity", "torch") if name in machine["versions"]
    )
    processor = f", {spent['cpu'] / 60:.0f} minutes of processor time" if "cpu" in spent else ""
    return (
        f"{spent['cells'] / 60:.0f} minutes of cells{processor}; {machine['cpu']['model']}, {machine['cpu']['cores']} "
        f"cores; {versions}; commit {str(machine['git'])[:12]}; card {result.card[:12]}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rule(rule: Rule, depth: int = 0) -> str:
    """A rule as a nested list."""
    indent = "  " * depth
    if isinstance(rule, (AllOf, AnyOf)):
        counting = [part for part in rule.parts if any(leaf.weight != "reported" for leaf in sub_claims(part))]
        word = "all of" if isinstance(rule, AllOf) else "at least one of"
        return "\n".join([f"{indent}- {word}", *(_rule(part, depth + 1) for part in counting)])
    return f"{indent}- {rule.name}" + (" (veto)" if rule.weight == "veto" else "")


def _protocol(claim: Claim) -> Iterator[str]:
    yield f"## What is checked\n\n{claim.says}\n\n{claim.setting}\n"
    yield f"The rule, without what is only reported:\n\n{_rule(claim.rule)}\n"
    yield "The recorded values:\n"
    yield table(("value", "meaning"), [[f"`{name}`", meaning] for name, meaning in claim.metrics.items()])
    correction = "Holm's correction" if claim.correction == "holm" else "no correction"
    worlds = f" Worlds: {', '.join(claim.worlds)}." if claim.worlds != ("",) else ""
    yield f"Seeds from {claim.first_seed} on; {claim.resamples:,} resamples by seed; {correction}.{worlds}\n"
    yield table(
        ("scale", "seeds", "budget", "needs"),
        [[s.name, str(s.seeds), s.budget, s.needs or "nothing"] for s in claim.scales],
    )
    for pilot in claim.pilots:
        seeds = ", ".join(map(str, pilot.seeds))
        yield f"Seen before the card was fixed (seeds {seeds}, not used again): {pilot.found}\n"


def _words(paper: Paper) -> Iterator[str]:
    if paper.figures:
        lines = "\n".join(f"- {figure.value} ({figure.source})" for figure in paper.figures)
        yield f"## What the paper reports\n\n{lines}\n"
    for title, lines_of in (
        ("Deviations", paper.deviations),
        ("Strengths", paper.strengths),
        ("Avoid when", paper.avoid_when),
        ("Covers", [f"`{path}`" for path in paper.covers]),
    ):
        if lines_of:
            yield f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines_of) + "\n"
    if paper.claim is not None:
        yield (
            f"## Run it\n\n```sh\nheredity reproduce {paper.slug}            # {paper.claim.scales[0].budget}\n"
            f"heredity reproduce {paper.slug} --check    # a few cells again, compared with the result above\n```\n"
        )
