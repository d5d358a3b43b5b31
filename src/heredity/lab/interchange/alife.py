"""Phylogenies in the artificial-life data standard's CSV, written and read.

A foreign phylogeny is read as a table, not as births: its taxa have no weights, no operator and no seed, so a birth
made from one could be neither loaded nor rebuilt.

Source: ALife data standards, phylogeny.md (required: id, ancestor_list; by convention: origin_time, destruction_time).
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from heredity.errors import LabError
from heredity.lab.interchange.lineage import Lineage, printable

# Columns beyond the standard's, in the order in which they are written.
EXTRA = ("taxon_label", "heredity_id", "roles", "kind", "operator", "version", "seed", "weights_sha256")
METRIC = "metric_"  # before a metric's name, so that no metric can be taken for a column of the standard


@dataclass(frozen=True, slots=True)
class Taxon:
    """One row of a phylogeny.

    Args:
        id: not negative, unique in the phylogeny.
        ancestors: ids of the nearest ancestors in the phylogeny; none for a root.
        origin_time: in whatever unit its maker counted; None when it is not told.
        destruction_time: the same; infinity for what still exists, None when it is not told.
        extra: further columns, as they are written.
    """

    id: int
    ancestors: tuple[int, ...] = ()
    origin_time: float | None = None
    destruction_time: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def taxa_of(lineage: Lineage) -> Iterator[Taxon]:
    """A lineage as taxa: ids count its births, parents first; times are seconds since 1970; death is destruction."""
    numbers = {birth: number for number, birth in enumerate(lineage.ids)}
    for birth in lineage:
        record = birth.record
        extra = {
            "taxon_label": birth.label,
            "heredity_id": birth.id,
            "roles": ";".join(f"{role}:{parent}" for role, parent in birth.edges),
            "kind": record["kind"],
            "operator": record["operator"]["type"],
            "version": str(record["operator"]["version"]),
            "seed": str(record["seed"]),
            "weights_sha256": record["weights"],
        }
        extra |= {METRIC + metric: repr(value) for metric, value in sorted(birth.metrics.items())}
        yield Taxon(
            numbers[birth.id],
            tuple(numbers[parent] for parent in lineage.parents[birth.id]),
            record["time"],
            birth.death[0] if birth.death else math.inf,
            extra,
        )


def write_alife(lineage: Lineage, file: TextIO) -> None:
    """Write a lineage; one column for every metric of the lab."""
    rows = lineage.lab.index.query("SELECT DISTINCT metric FROM metrics ORDER BY metric")
    write_taxa(taxa_of(lineage), file, [*EXTRA, *(METRIC + metric for (metric,) in rows)])


def write_taxa(taxa: Iterable[Taxon], file: TextIO, extra: Iterable[str] | None = None) -> None:
    """Write a phylogeny.

    Args:
        taxa: the rows.
        file: opened with newline="".
        extra: names of the further columns; by default those of all taxa, which are then read twice.
    """
    if extra is None:
        taxa = list(taxa)
        extra = dict.fromkeys(name for taxon in taxa for name in taxon.extra)
    named = list(extra)
    writer = csv.writer(file, lineterminator="\n")
    columns = ["id", "ancestor_list", "origin_time", "destruction_time", *map(printable, named)]
    writer.writerow(columns)
    for taxon in taxa:
        row = [str(taxon.id), json.dumps(list(taxon.ancestors)) if taxon.ancestors else "[none]"]
        row += ["" if time is None else repr(float(time)) for time in (taxon.origin_time, taxon.destruction_time)]
        writer.writerow([*row, *(taxon.extra.get(name, "") for name in named)])


def read_alife(path: Path) -> list[Taxon]:
    """The taxa of a phylogeny, in the order of the file.

    Raises:
        LabError: a required column is missing, an id is no whole number or comes twice, an ancestor is not in the file.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restval="")
            missing = {"id", "ancestor_list"} - set(reader.fieldnames or ())
            if missing:
                named = " and no column ".join(sorted(missing))
                raise LabError(f"{path} is no ALife phylogeny: it has no column {named}")
            taxa = [_taxon(row, f"{path}, line {reader.line_num}") for row in reader]
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"{path} is not CSV in UTF-8: {error}") from error
    known = {taxon.id for taxon in taxa}
    if len(known) < len(taxa):
        twice = Counter(taxon.id for taxon in taxa).most_common(1)[0][0]
        raise LabError(f"{path} has the id {twice} more than once")
    for taxon in taxa:
        lost = [ancestor for ancestor in taxon.ancestors if ancestor not in known]
        if lost:
            raise LabError(f"{path}: ancestor {lost[0]} of {taxon.id} is not in the file")
    return taxa


def _taxon(row: dict[str, str], where: str) -> Taxon:
    if None in row:
        raise LabError(f"{where} has more fields than the header")
    rest = {
        name: text
        for name, text in row.items()
        if name not in ("id", "ancestor_list", "origin_time", "destruction_time")
    }
    return Taxon(
        _number(row["id"], where),
        _ancestors(row["ancestor_list"], where),
        _time(row.get("origin_time", ""), where),
        _time(row.get("destruction_time", ""), where),
        rest,
    )


def _number(text: str, where: str) -> int:
    text = text.strip()
    if not re.fullmatch(r"[0-9]+(\.0+)?", text, re.ASCII):  # tables that passed through floating point end in .0
        raise LabError(f"{where}: the id {text!r} is no whole number that is not negative")
    return int(text.partition(".")[0])


def _ancestors(text: str, where: str) -> tuple[int, ...]:
    """[none], [], [3], [3, 5] and ['3'], as the standard's examples and programs write them."""
    inner = re.fullmatch(r"\s*\[(.*)\]\s*", text, re.DOTALL)
    if inner is None:
        raise LabError(f"{where}: the ancestor_list {text!r} is not like [none] or [3, 5]")
    items = [item.strip().strip("'\"").strip() for item in inner[1].split(",")]
    if len(items) == 1 and items[0].lower() in ("", "none"):
        return ()
    return tuple(dict.fromkeys(_number(item, where) for item in items))


def _time(text: str, where: str) -> float | None:
    text = text.strip().lower()
    if text in ("", "none", "nan", "na", "null"):
        return None
    try:
        return float(text)
    except ValueError:
        raise LabError(f"{where}: the time {text!r} is no number") from None
