"""`heredity lineage`, `heredity push`, `heredity pull`: lineages for other programs, labs in other places."""

from __future__ import annotations

import contextlib
import enum
import io
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.labs import JsonOption, LabOption, find_lab, open_lab
from heredity.errors import LabError

if TYPE_CHECKING:
    from heredity.lab.interchange.mermaid import Drawn
    from heredity.lab.interchange.sync import Progress, Transfer

PANEL = "Tend a lab"


class Format(enum.StrEnum):
    """What `heredity lineage` writes."""

    JSON = "json"
    ALIFE = "alife"
    PROV = "prov"
    MERMAID = "mermaid"
    NEWICK = "newick"


class Weights(enum.StrEnum):
    """Whose weights are copied."""

    NONE = "none"
    NAMED = "named"
    ALL = "all"


UrlArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="A folder, or any fsspec URL: s3://bucket/lab, gs://…, sftp://host/path.",
        show_default=False,
    ),
]
WeightsOption = Annotated[
    Weights,
    typer.Option(help="Whose weights to copy. Records, evidence and small files always go along.", show_default=True),
]


def lineage_command(
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REF]...", help="Only these models and their ancestors.", show_default=False),
    ] = None,
    *,
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.JSON,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; by default standard output.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="mermaid: draw all births, however many; by default the trunk of many.")
    ] = False,
    lab_path: LabOption = None,
) -> None:
    """Write who descends from whom, for other programs.

    json holds all there is, alife is the CSV of artificial-life phylogenies, prov is W3C PROV-JSON, mermaid draws in a
    README, newick is for tree viewers (primary parents only).

    Example: heredity lineage best -f mermaid
    """
    from heredity.lab.interchange.lineage import Lineage

    with open_lab(lab_path) as lab:
        lineage = Lineage(lab, refs or ())
        with _stdout() if output is None else _whole_file(output) as file:
            drawn = _write(lineage, format_, file, everything)
        _say_about(lineage, drawn, output)


def _write(lineage: Any, format_: Format, file: Any, everything: bool) -> Drawn | None:
    from heredity.lab.interchange import alife, document, mermaid, newick, prov

    if format_ is Format.MERMAID:
        return mermaid.write_mermaid(lineage, file, everything=everything)
    writers = {
        Format.JSON: document.write_json,
        Format.ALIFE: alife.write_alife,
        Format.PROV: prov.write_prov,
        Format.NEWICK: newick.write_newick,
    }
    writers[format_](lineage, file)
    return None


@contextlib.contextmanager
def _stdout() -> Iterator[Any]:
    """Standard output in UTF-8, whatever the system's encoding and line ends: programs read it."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        yield sys.stdout
        return
    sys.stdout.flush()
    text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Any]:
    """The file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}; choose another file with -o") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _say_about(lineage: Any, drawn: Drawn | None, output: Path | None) -> None:
    """What a person should know, where no program reads it."""
    from heredity.cli.console import plural
    from heredity.lab.interchange.mermaid import EDGES, TEXT

    if output is not None:
        typer.echo(f"{plural(len(lineage), 'birth')} of {lineage.lab.path} in {output}", err=True)
    if lineage.missing:
        typer.echo(f"{plural(len(lineage.missing), 'parent')} in no journal: heredity verify names them", err=True)
    if drawn is not None and drawn.folded:
        typer.echo(f"the trunk: {drawn.births} of {plural(len(lineage), 'birth')}; --all draws every one", err=True)
    if drawn is not None and (drawn.edges > EDGES or drawn.characters > TEXT):
        typer.echo(f"too large for GitHub: Mermaid draws at most {EDGES} edges and {TEXT:,} characters there", err=True)


def push_command(
    url: UrlArgument,
    *,
    weights: WeightsOption = Weights.ALL,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the lab elsewhere: what is missing there.

    Nothing there is overwritten or deleted; several machines may push to one place. Interrupted, it goes on when asked
    again. Places other than folders need the extra sync.

    JSON: {url, blobs, journals, bytes, damaged, conflicts}.

    Example: heredity push s3://bucket/lab --weights named
    """
    from heredity.lab.interchange.sync import push

    with open_lab(lab_path) as lab, _progress("push") as progress:
        transfer = push(lab, url, weights=weights.value, progress=progress)
    _report(transfer, as_json, f"{lab.path} is in {transfer.url}", births=False)


def pull_command(
    url: UrlArgument,
    *,
    weights: WeightsOption = Weights.ALL,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy into the lab what another place holds.

    Makes ./lab where there is no lab. Nothing here is overwritten or deleted, so that labs of several machines flow
    together. Places other than folders need the extra sync.

    JSON: {url, births, blobs, journals, bytes, damaged, conflicts}.

    Example: heredity pull s3://bucket/lab
    """
    from heredity.lab.interchange.sync import pull

    path = lab_path or find_lab(Path()) or Path("lab")
    with _progress("pull") as progress:
        transfer = pull(path, url, weights=weights.value, progress=progress)
    _report(transfer, as_json, f"{transfer.url} is in {path}", births=True)


@contextlib.contextmanager
def _progress(verb: str) -> Iterator[Progress | None]:
    """A bar on a terminal's standard error, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(f"{verb}ing", *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda done, total, _: bar.update(task, completed=done, total=total)


def _report(transfer: Transfer, as_json: bool, done: str, *, births: bool) -> None:
    from heredity.cli.console import Out, plural, print_json, size

    if as_json:
        facts = {"url": transfer.url, **({"births": transfer.births} if births else {})}
        copied = {"blobs": transfer.blobs, "journals": transfer.journals, "bytes": transfer.bytes}
        print_json({**facts, **copied, "damaged": transfer.damaged, "conflicts": transfer.conflicts})
    else:
        out = Out()
        new = f"{plural(transfer.births, 'new birth')}, " if births else ""
        copied_text = f"{plural(transfer.blobs, 'blob')} and {plural(transfer.journals, 'journal')}"
        nothing = not (transfer.blobs or transfer.journals)
        out.line(f"{done}: " + ("nothing was missing" if nothing else f"{new}{copied_text}, {size(transfer.bytes)}"))
        for path in transfer.damaged:
            out.line(f"  not copied, damaged: {path}")
        for name in transfer.conflicts:
            out.line(f"  not copied, begins otherwise in the two places: births/{name}")
    if transfer.damaged or transfer.conflicts:
        raise typer.Exit(1)
