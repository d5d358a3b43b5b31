"""`heredity merge`: model folders on disk into a model folder on disk, as a mergekit YAML file says."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.errors import HeredityError, RecipeError

if TYPE_CHECKING:
    from heredity.merging.mergekit_run import Merge, Merged

_UNITS = {"": 1, "B": 1, "K": 10**3, "KB": 10**3, "M": 10**6, "MB": 10**6, "G": 10**9, "GB": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """Bytes in a size such as "5GB", "500M" or "1000000" (decimal units).

    >>> parse_size("1.5GB")
    1500000000
    """
    plain = text.strip().upper()
    digits = plain.rstrip("BKMGT")
    try:
        size = int(float(digits) * _UNITS[plain[len(digits) :]])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if size < 1:
        raise RecipeError(f"--max-shard-size should be a size such as 5GB or 500MB, it is {text!r}")
    return size


def merge_command(
    config: Annotated[Path, typer.Argument(help="A mergekit configuration (YAML), read as it is.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The model folder to make.", show_default=False)],
    *,
    max_shard_size: Annotated[str, typer.Option(help="Largest weights file; above it the weights are split.")] = "5GB",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that holds files.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random masks (DARE, DELLA).")] = 0,
    threads: Annotated[int | None, typer.Option(help="Worker threads; default one per core.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, then stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Merge models on disk into a new model, in little memory.

    Tensors stream from the parents' safetensors files to the output's, so that models larger than memory can be
    merged. The output folder appears when it is complete.

    A configuration, ties.yml:

    \b
        merge_method: ties
        base_model: ./ancestor            # a folder, or a hub name
        models:
          - model: ./maths
            parameters: {weight: 0.6, density: 0.5}
          - model: ./chat
            parameters: {weight: 0.4, density: [0.3, 0.7]}   # a gradient over layers
        dtype: bfloat16

    \b
        heredity merge ties.yml out --dry-run     look before you merge
        heredity merge ties.yml out               merge
    """
    try:
        _run(
            config,
            out,
            max_shard_size=max_shard_size,
            overwrite=overwrite,
            seed=seed,
            threads=threads,
            dry_run=dry_run,
            as_json=as_json,
        )
    except HeredityError as error:
        if as_json:
            typer.echo(json.dumps({"error": str(error), "kind": type(error).__name__}))
        else:
            typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _run(
    config: Path,
    out: Path,
    *,
    max_shard_size: str,
    overwrite: bool,
    seed: int,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    from heredity.merging.mergekit_config import load_config

    shard, parsed = parse_size(max_shard_size), load_config(config)
    if not dry_run and out.is_dir() and any(out.iterdir()) and not overwrite:
        raise RecipeError(f"{out} already holds files; choose another folder or pass --overwrite")
    from heredity.merging.mergekit_run import open_merge  # imports torch: after the cheap checks

    with open_merge(parsed) as merge:
        if dry_run:
            _describe(merge, out, as_json)
            return
        with _progress(merge.plan.write_bytes, not as_json and sys.stderr.isatty()) as progress:
            merged = merge.write(
                out, seed=seed, threads=threads, max_shard_size=shard, overwrite=overwrite, progress=progress
            )
        _report(merge, merged, out, as_json)


def _describe(merge: Merge, out: Path, as_json: bool) -> None:
    plan, config = merge.plan, merge.config
    inputs = [
        {"model": str(parent.ref), "tensors": len(parent.entries), "base": parent.ref == config.base_model}
        for parent in merge.parents
    ]
    facts: dict[str, Any] = {
        "method": config.method,
        "inputs": inputs,
        "tensors": len(plan.jobs),
        "layers": len(plan.layers) if plan.layers is not None else None,
        "read_bytes": plan.read_bytes,
        "write_bytes": plan.write_bytes,
        "out": str(out),
        "notes": plan.notes,
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"method   {config.method}")
    for item in inputs:
        typer.echo(f"{'base' if item['base'] else 'input':8} {item['model']} ({item['tensors']} tensors)")
    if plan.layers is not None:
        typer.echo(f"layers   {len(plan.layers)}")
    typer.echo(f"output   {out}: {len(plan.jobs)} tensors")
    typer.echo(f"reads    {_size(plan.read_bytes)}\nwrites   {_size(plan.write_bytes)}")
    for note in plan.notes:
        typer.echo(f"note     {note}")
    typer.echo(f"next: heredity merge {config.origin} {out}")


def _report(merge: Merge, merged: Merged, out: Path, as_json: bool) -> None:
    if as_json:
        facts = {
            "folder": str(merged.folder),
            "weights": list(merged.weights),
            "method": merge.config.method,
            "tensors": merged.tensors,
            "read_bytes": merged.read_bytes,
            "write_bytes": merged.write_bytes,
            "seconds": round(merged.seconds, 3),
            "parents": merged.parents,
            "notes": list(merged.notes),
        }
        typer.echo(json.dumps(facts))
        return
    for note in merged.notes:
        typer.echo(f"note: {note}", err=True)
    files = sum(name.endswith(".safetensors") for name in merged.weights)
    typer.echo(
        f"wrote {out}: {merged.tensors} tensors, {_size(merged.write_bytes)} in {files} "
        f"file{'s' if files > 1 else ''}, {merge.config.method} of {len(merge.parents)} models, {merged.seconds:.1f} s"
    )
    typer.echo(f"next: cat {out / 'README.md'}    heredity add {out} --name {out.name}")


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"


@contextlib.contextmanager
def _progress(total: int, shown: bool) -> Iterator[Callable[[int], object] | None]:
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("merging", total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance
