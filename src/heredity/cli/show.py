"""`heredity show`: everything about one model."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING, Any

from heredity.cli.labs import JsonOption, LabOption, RefArgument, open_lab
from heredity.errors import LabError, UnknownModel

if TYPE_CHECKING:
    from heredity.cli.console import Cell, Out
    from heredity.cli.record import Dossier
    from heredity.lab import Lab

PANEL = "Look at a lineage"

_CHILDREN = 10  # children listed one by one; all of them are counted


def show_command(ref: RefArgument, *, lab_path: LabOption = None, as_json: JsonOption = False) -> None:
    """Everything about one model, or about a paper.

    Of a model: parents and children, configuration, measurements, weights, cost, environment, commands to copy. Of a
    paper (its short name, as in heredity papers): its card and the committed verdict.

    JSON: a birth as in log with key, version, config, settings, children, measurements, tags, notes, operator_notes,
    death, weights, architecture, environment, cost, commands.

    Example: heredity show best~1
    """
    from heredity.cli.console import Out, print_json
    from heredity.cli.record import dossier_json, gather

    try:
        lab = open_lab(lab_path)
        model = lab[ref]
    except (LabError, UnknownModel):
        if not _shown_as_paper(ref, as_json):
            raise
        return
    with lab:
        dossier = gather(lab, model.id)
        if as_json:
            print_json(dossier_json(lab, dossier))
            return
        out = Out()
        _identity(out, dossier)
        _configuration(out, dossier)
        _family(out, dossier)
        _measurements(out, dossier)
        _weights(out, lab, dossier)
        _conditions(out, dossier)
        _commands(out, lab, dossier)


def _shown_as_paper(ref: str, as_json: bool) -> bool:
    """Show the paper that a reference names; False when it names none."""
    from heredity.cli.papers import show_paper
    from heredity.papers.catalogue import find_paper
    from heredity.papers.errors import UnknownPaper

    try:
        paper = find_paper(ref)
    except UnknownPaper:
        return False
    show_paper(paper, as_json=as_json)
    return True


def _identity(out: Out, dossier: Dossier) -> None:
    from heredity.cli.changes import title
    from heredity.cli.console import ago, joined, kind_text, names_text, styled

    record, birth = dossier.record, dossier.birth
    names = dossier.facts.names.get(birth, [])
    out.line(joined([styled(birth, "bold yellow"), kind_text(record["kind"]), title(record), names_text(names)]))
    born = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["time"]))
    form = record["operator"]
    death = ""
    if dossier.death is not None:
        moment, reason = dossier.death
        death = f"{ago(moment)} ago" + (f": {reason}" if reason else "")
    out.pairs(
        [
            ("key", record["key"]),
            ("born", f"{born} ({ago(record['time'])} ago)"),
            ("died", styled(death, "dim")),
            ("operator", f"{form['type']} version {form['version']}"),
            ("seed", str(record["seed"])),
            ("labels", _facts_line(record.get("labels", {}))),
            ("tags", ", ".join(dossier.tags)),
            *(("note", text) for text in dossier.notes),
            *((f"said: {key}", json.dumps(value)) for key, value in record.get("notes", {}).items()),
        ]
    )


def _facts_line(facts: dict[str, Any]) -> str:
    """Labels on a line; what is nested in them is left to --json."""
    from heredity.cli.changes import plain

    return ", ".join(f"{key}={'{…}' if isinstance(value, dict) else plain(value)}" for key, value in facts.items())


def _configuration(out: Out, dossier: Dossier) -> None:
    from heredity.cli.changes import plain, settings
    from heredity.cli.console import styled

    mine = settings(dossier.record)
    if not mine:
        return
    parent = dossier.facts.parent(dossier.birth)
    same = parent is not None and parent["operator"]["type"] == dossier.record["operator"]["type"]
    theirs = settings(parent) if parent is not None and same else mine
    out.title("Configuration")
    rows: list[list[Cell]] = []
    for key, value in mine.items():
        before = "" if theirs.get(key) == value else f"was {plain(theirs[key])}" if key in theirs else "new"
        rows.append([styled(key, "dim"), plain(value), styled(before, "yellow")])
    out.rows(rows, stretch=1, indent=2)


def _family(out: Out, dossier: Dossier) -> None:
    from heredity.cli.console import kind_text, names_text, styled
    from heredity.cli.lineage import count_by_kind

    facts = dossier.facts

    def row(birth: str, role: str) -> list[Any]:
        record = facts.records.get(birth)
        if record is None:
            return [styled(role, "dim"), styled(facts.short(birth), "yellow"), "", styled("not in this lab", "red"), ""]
        names = names_text(facts.names.get(birth, ()))
        kind = kind_text(record["kind"])
        what = facts.description(birth)
        return [styled(role, "dim"), styled(facts.short(birth), "yellow"), kind, what, names]

    parents = dossier.record["parents"]
    if parents:
        out.title("Parents")
        out.rows([row(edge["id"], edge["role"]) for edge in parents], stretch=3, indent=2)
    if dossier.children:
        ids = [child for child, _ in dossier.children]
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in count_by_kind(facts, ids).items())
        out.title(f"Children: {len(ids):,} ({kinds})")
        out.rows([row(child, f"as {role}") for child, role in dossier.children[:_CHILDREN]], stretch=3, indent=2)
        if len(ids) > _CHILDREN:
            more = f"… {len(ids) - _CHILDREN:,} more: heredity children {facts.short(dossier.birth)}"
            out.line(styled(f"  {more}", "dim"))


def _measurements(out: Out, dossier: Dossier) -> None:
    from heredity.cli.console import change, number, styled
    from heredity.lab.operator import short_name

    rows: list[list[Any]] = []
    for line in dossier.measurements:
        probe = styled(short_name(line["probe"]["type"]), "dim")
        for metric, value in line.get("values", {}).items():
            gain = change(dossier.parent_value(metric), value)
            rows.append([probe, metric, number(value), gain.append(" to parent", "dim") if gain else ""])
        if "failed" in line:
            rows.append([probe, styled("failed", "red"), "", line["failed"]])
    if rows:
        out.title("Measurements")
        out.rows(rows, right=[2], stretch=3, indent=2)


def _weights(out: Out, lab: Lab, dossier: Dossier) -> None:
    from heredity.cli.console import size
    from heredity.cli.record import architecture_line

    record = dossier.record
    sha = record["weights"]
    if lab.blobs.has(sha):
        state = "stored"
    elif record.get("deterministic", True):
        state = "not stored; rebuilt from the record when asked for"
    else:
        state = "not stored, and a birth of this kind cannot be run again"
    out.title("Weights")
    out.pairs(
        [
            ("state", state),
            ("size", size(record["bytes"])),
            ("sha256", sha),
            ("architecture", architecture_line(dossier.architecture)),
            ("files", ", ".join(record.get("files", {}))),
        ]
    )


def _conditions(out: Out, dossier: Dossier) -> None:
    from heredity.cli.console import duration, size

    record, environment = dossier.record, dossier.environment
    out.title("Cost")
    out.pairs(
        [
            ("wall", duration(record["wall"]) if record.get("wall") is not None else ""),
            ("cpu", duration(record["cpu"]) if record.get("cpu") is not None else ""),
            ("memory", f"{size(record['peak_rss'])} at most" if record.get("peak_rss") else ""),
            ("threads", str(record.get("threads", ""))),
        ]
    )
    if environment is None:
        return
    cpu = environment.get("cpu", {})
    out.title("Environment")
    out.pairs(
        [
            ("command", shlex.join(environment.get("command", []))),
            ("git", environment.get("git") or ""),
            ("versions", ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())),
            ("python", str(environment.get("python", ""))),
            ("system", f"{environment.get('system', '')} on {environment.get('host', '')}"),
            ("cpu", ", ".join(str(cpu[key]) for key in ("model", "capability") if cpu.get(key))),
        ]
    )


def _commands(out: Out, lab: Lab, dossier: Dossier) -> None:
    from heredity.cli.record import commands

    found = commands(lab, dossier.facts.short(dossier.birth))
    out.title("Commands")
    for what in ("load", "rebuild"):
        out.command(f'python -c "{found[what]}"')
    out.command(found["path"])
    out.command(found["export"])
