"""`heredity gc`: drop stored weights that can be rebuilt."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from heredity.cli.labs import JsonOption, LabOption, open_lab
from heredity.errors import LabError

if TYPE_CHECKING:
    from heredity.cli.console import Out
    from heredity.lab import Lab
    from heredity.lab.maintenance import GcReport

PANEL = "Tend a lab"


def gc_command(
    *,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="REF", help="Also keep this model; may be repeated.")
    ] = None,
    living: Annotated[
        bool, typer.Option("--living", help="Also drop living models that are neither named nor best.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped, then stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop stored weights that can be rebuilt.

    Births and measurements stay, and weights come back when they are asked for.

    Kept are named models, living ones (no population let them go), the best and the lowest of each metric, --keep, what
    a running birth needs, and everything that cannot be rebuilt.

    JSON (with --yes or --dry-run): {dry_run, dropped, orphans, freed_bytes, kept {reason: count}}.

    Example: heredity gc --dry-run --keep best~1
    """
    from heredity.cli.console import Out, print_json

    with open_lab(lab_path, mode="r" if dry_run else "r+") as lab:
        kept = kept_models(lab, keep or (), living=living)
        report = lab.gc(kept, dry_run=True)
        nothing = not report.dropped and not report.orphans
        if not as_json:
            _print(Out(), lab, report, living=living)
        if not dry_run and not nothing:
            _agree(yes, as_json=as_json)
            report = lab.gc(kept)
            if not as_json:
                from heredity.cli.console import size

                Out().line(f"dropped; {size(report.freed)} freed")
        if as_json:
            print_json(
                {
                    "dry_run": dry_run,
                    "dropped": report.dropped,
                    "orphans": report.orphans,
                    "freed_bytes": report.freed,
                    "kept": report.kept,
                }
            )


def kept_models(lab: Lab, asked: list[str] | tuple[str, ...], *, living: bool) -> list[str]:
    """Ids to keep beside named ones: those asked for, the best and lowest of each metric, survivors."""
    kept = [lab[ref].id for ref in asked]
    for order in ("DESC", "ASC"):
        rows = lab.index.query(
            f"SELECT metric, id FROM (SELECT m.metric, m.id, row_number() OVER "
            f"(PARTITION BY m.metric ORDER BY m.value {order}, b.time, b.id) AS place "
            "FROM metrics m JOIN births b ON b.id = m.id) WHERE place = 1"
        )
        kept += [row[1] for row in rows]
    if not living:
        kept += [row[0] for row in lab.index.query("SELECT id FROM births WHERE id NOT IN (SELECT id FROM deaths)")]
    return list(dict.fromkeys(kept))


def _agree(yes: bool, *, as_json: bool) -> None:
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise LabError("nothing was dropped: say --yes to drop without being asked, or --dry-run to look only")
    if not typer.confirm("Drop them?"):
        typer.echo("nothing was dropped")
        raise typer.Exit


def _print(out: Out, lab: Lab, report: GcReport, *, living: bool) -> None:
    from heredity.cli.console import plural, size, styled
    from heredity.cli.lineage import id_length

    if report.dropped or report.orphans:
        orphans = f", {plural(report.orphans, 'blob')} that belong to no birth" if report.orphans else ""
        out.line(styled(f"{size(report.freed)} can be freed: {plural(len(report.dropped), 'model')}{orphans}", "bold"))
        length = id_length(lab)
        some = ", ".join(birth[:length] for birth in report.dropped[:8])
        out.pairs([("dropped", some + (f", … {len(report.dropped) - 8:,} more" if len(report.dropped) > 8 else ""))])
    else:
        out.line("nothing to drop")
    out.pairs([("kept", f"{count:,} × {reason}") for reason, count in sorted(report.kept.items())])
    dead = lab.index.query("SELECT count(*) FROM deaths")[0][0]
    if not report.dropped and not dead and not living and report.kept:
        out.paragraph(styled("no population let a model go, so all count as living; --living drops those too", "dim"))
    if report.kept.get("cannot be rebuilt"):
        out.paragraph(
            styled("to rebuild births of your own operators, name their modules: HEREDITY_ALLOW=module,…", "dim")
        )
