"""`heredity merge`: model folders on disk into a model folder on disk, as a mergekit YAML file says."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.console import Out, duration, plural, print_json, safe, size
from heredity.cli.labs import JsonOption
from heredity.cli.lazy_import import import_lazily
from heredity.errors import RecipeError

if TYPE_CHECKING:
    from heredity.merging.mergekit_run import Merge, Merged

_UNITS = {
    "": 1,
    "B": 1,
    "K": 10**3,
    "KB": 10**3,
    "M": 10**6,
    "MB": 10**6,
    "G": 10**9,
    "GB": 10**9,
    "T": 10**12,
    "TB": 10**12,
}


def parse_size(text: str) -> int:
    """Bytes in a size such as "5GB", "500M" or "1000000" (decimal units).

    >>> parse_size("1.5GB")
    1500000000
    """
    plain = text.strip().upper()
    digits = plain.rstrip("BKMGT")
    try:
        count = int(float(digits) * _UNITS[plain[len(digits) :]])
    except (KeyError, ValueError, OverflowError):
        count = 0
    if count < 1:
        raise RecipeError(f"--max-shard-size should be a size such as 5GB or 500MB, it is {text!r}")
    return count


def merge_command(
    config: Annotated[Path, typer.Argument(help="A mergekit configuration (YAML), read as it is.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The model folder to make.", show_default=False)],
    *,
    max_shard_size: Annotated[str, typer.Option(help="Largest weights file; above it the weights are split.")] = "5GB",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that holds files.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random masks (DARE, DELLA).")] = 0,
    threads: Annotated[int | None, typer.Option(help="Worker threads; default one per core.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, then stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge models on disk into a new model, in little memory.

    Tensors stream from the parents' safetensors files to the output's, so that
    models larger than memory can be merged. The output folder appears when it
    is complete. A configuration, ties.yml:

    \b
        merge_method: ties
        base_model: ./ancestor        # a folder, or a hub name
        models:
          - model: ./maths
            parameters: {weight: 0.6, density: 0.5}
          - model: ./chat             # a density that rises over the layers
            parameters: {weight: 0.4, density: [0.3, 0.7]}
        dtype: bfloat16

    \b
        heredity merge ties.yml out --dry-run     look before you merge
        heredity merge ties.yml out               merge
    """
    from heredity.merging.mergekit_config import load_config

    shard, parsed = parse_size(max_shard_size), load_config(config)
    if not dry_run and out.is_dir() and any(out.iterdir()) and not overwrite:
        raise RecipeError(f"{out} already holds files; choose another folder or pass --overwrite")
    from heredity.merging.model_source import weight_paths
    from heredity.merging.parent_hashes import ParentHashes

    with contextlib.ExitStack() as stack:
        # Hashing the parents keeps a core busy while the other plans and, where it has to, loads torch.
        hashes = None if dry_run else stack.enter_context(ParentHashes(weight_paths(parsed)))
        with _uncollected():
            import_lazily("torch")  # sums of float32 and bfloat16 tensors do without
            from heredity.merging.mergekit_run import open_merge

            merge = stack.enter_context(open_merge(parsed))
            if not (dry_run or merge.plan.sums):
                import torch

                torch.get_num_threads()  # loads it
        if dry_run:
            _describe(merge, out, as_json)
            return
        progress = stack.enter_context(_progress(merge.plan.write_bytes, not as_json and sys.stderr.isatty()))
        merged = merge.write(
            out,
            seed=seed,
            threads=threads,
            max_shard_size=shard,
            overwrite=overwrite,
            progress=progress,
            hashes=hashes,
        )
    _report(merge, merged, out, as_json)
    _leave()


def _leave() -> None:
    """End the process at once where it is `heredity merge` and nothing else, and nothing is left to be done.

    Taking torch apart, object by object, takes an interpreter a tenth of a second after the last byte is on the disk.
    What was registered to run at the end is run, and output is flushed first; any doubt, such as another thread, a
    caller that is not the program's own launcher or output that cannot be written, leaves the end to the interpreter.
    """
    if not _own_process() or threading.enumerate() != [threading.main_thread()]:
        return
    run_exit_functions = getattr(atexit, "_run_exitfuncs", None)
    if run_exit_functions is None:
        return
    try:
        run_exit_functions()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except Exception:
        return  # the interpreter's own end says what is wrong
    os._exit(0)


def _own_process() -> bool:
    """Whether the outermost code of the process called the command line, under the program's name."""
    frame, caller = sys._getframe(), None
    while frame.f_back is not None:
        if frame.f_code.co_name == "main" and frame.f_globals.get("__name__") == "heredity.cli.main":
            caller = frame.f_back
        frame = frame.f_back
    launched = caller is not None and caller.f_code.co_name == "<module>" and caller.f_globals["__name__"] == "__main__"
    return launched and Path(sys.argv[0]).stem == "heredity" and sys.gettrace() is None


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Import without garbage collection, and keep what was imported out of it.

    Loading torch makes some 170,000 objects that live to the end; walking them while they are made, and once more
    when the interpreter ends, takes 0.4 s of the 1.2 s that `import torch` costs a process.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


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
        print_json(facts)
        return
    screen = Out()
    screen.pairs(
        [
            ("method", config.method),
            *(
                (f"{'base' if item['base'] else 'input'}", f"{item['model']} ({item['tensors']} tensors)")
                for item in inputs
            ),
            ("layers", str(len(plan.layers)) if plan.layers is not None else ""),
            ("output", f"{out} ({plural(len(plan.jobs), 'tensor')})"),
            ("reads", size(plan.read_bytes)),
            ("writes", size(plan.write_bytes)),
            *(("note", note) for note in plan.notes),
        ]
    )
    screen.next_steps(shlex.join(["heredity", "merge", config.origin, str(out)]))


def _report(merge: Merge, merged: Merged, out: Path, as_json: bool) -> None:
    if as_json:
        print_json(
            {
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
        )
        return
    for note in merged.notes:
        typer.echo(f"note: {safe(note)}", err=True)
    files = sum(name.endswith(".safetensors") for name in merged.weights)
    screen = Out()
    screen.line(
        f"wrote {out}: {plural(merged.tensors, 'tensor')}, {size(merged.write_bytes)} in {plural(files, 'file')}, "
        f"{merge.config.method} of {plural(len(merge.parents), 'model')}, {duration(merged.seconds)}"
    )
    screen.next_steps(
        shlex.join(["cat", str(out / "README.md")]), shlex.join(["heredity", "import", str(out), "--name", out.name])
    )


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
