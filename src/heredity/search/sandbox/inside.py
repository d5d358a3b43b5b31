"""The innermost process: it walls itself in, runs the code, and writes down what came of it. Standard library only."""

from __future__ import annotations

import contextlib
import importlib
import json
import linecache
import math
import os
import resource
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

from heredity.search.sandbox import syscalls, walls

FILE = "<source>"  # what tracebacks call the code
OPEN_FILES = 64


class NoWalls(Exception):
    """A wall that has to stand cannot be built."""


def wall_in(job: dict[str, Any], namespaces: str, disk: bool, threads_before: int) -> list[str]:
    """Build all walls around this process; the names of those that stand.

    Raises:
        NoWalls: one is missing, and the job does not allow that.
    """
    standing = ["limits"]
    if namespaces:
        standing.append("namespaces")
    if disk:
        standing.append("disk")
    own_count = namespaces == "user"
    weak = bool(job["allow_weak"])
    with _needed("limits", weak, standing):
        count = job["threads"] + (0 if own_count or os.geteuid() == 0 else threads_before)
        walls.limit(
            seconds=math.ceil(job["timeout_s"] * max(1, os.cpu_count() or 1)) + 1,
            memory_bytes=job["memory_mb"] << 20,
            file_bytes=job["disk_mb"] << 20,
            threads=count,
            files=OPEN_FILES,
        )
    with _needed("privileges", weak, standing):
        syscalls.no_new_privileges()
        parent = os.getppid()
        if os.geteuid() == 0 and walls.become(job["user"]):
            standing.append("user")
        else:
            walls.keep_only(0)
        walls.die_with_parent(parent)  # the kernel forgets it with the user
        standing.append("privileges")
    with _needed("files", weak, standing):
        walls.wall_files(job["folder"], [*walls.SYSTEM, *walls.interpreter_folders(), *job["readable"]])
        standing.append("files")
    with _needed("calls", weak, standing):
        if not syscalls.supported():
            raise OSError("no seccomp filters on this machine")
        syscalls.refuse_calls()
        standing.append("calls")
    return standing


@contextlib.contextmanager
def _needed(wall: str, weak: bool, standing: list[str]) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if not weak:
            raise NoWalls(f"{wall}: {error}") from error
        if wall in standing:
            standing.remove(wall)


def run(job: dict[str, Any], result: int) -> None:
    """Run the job's source and call, write the outcome to the file descriptor `result`, and end the process."""
    leave, write, token = os._exit, os.write, str(job["token"]).encode()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # they live as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False, buffering=1)  # noqa: SIM115
    outcome: dict[str, Any]
    try:
        outcome = {"value": _value(job)}
    except SystemExit as end:
        fine = job["call"] is None and end.code in (None, 0)
        outcome = {"value": None} if fine else {"error": f"the code called sys.exit({end.code!r})"}
    except BaseException as error:  # whatever the code raises is its outcome
        outcome = {"error": _described(error)}
        with contextlib.suppress(BaseException):
            traceback.print_exception(type(error), error, _from_source(error), limit=-20)
    text = _written(outcome, int(job["result_bytes"]))
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    data = token + text
    try:
        while data:
            data = data[write(result, data) :]
    except BaseException:  # the code closed the channel; its absence is the outcome
        leave(1)
    leave(0)


def _value(job: dict[str, Any]) -> Any:
    source, call = job["source"], job["call"]
    module = types.ModuleType("__main__" if call is None else "sandboxed")
    sys.modules[module.__name__] = module
    lines = source.splitlines(keepends=True)
    linecache.cache[FILE] = (len(source), None, lines, FILE)
    exec(compile(source, FILE, "exec", dont_inherit=True), module.__dict__)
    if call is None:
        return None
    name, args, kwargs = call
    return _function(name, module)(*args, **kwargs)


def _function(name: str, module: types.ModuleType) -> Callable[..., Any]:
    """A function of the source; or, as "package.module:function", one that is given the source's module first."""
    if ":" in name:
        path, _, attribute = name.partition(":")
        outer = getattr(importlib.import_module(path), attribute)
        return lambda *args, **kwargs: outer(module, *args, **kwargs)
    function = getattr(module, name, None)
    if not callable(function):
        raise NameError(f"the source defines no function {name!r}")
    return function  # type: ignore[no-any-return]


def _from_source(error: BaseException) -> types.TracebackType | None:
    """The traceback without the sandbox's own frames at its beginning."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    return at


def _described(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == FILE:
        place = f" (line {error.lineno})"
    else:
        frames = traceback.walk_tb(error.__traceback__)
        numbers = [line for frame, line in frames if frame.f_code.co_filename == FILE]
        place = f" (line {numbers[-1]})" if numbers else ""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:
        text = "an error that cannot be written"
    return f"{type(error).__name__}: {text}"[:2000] + place


def _written(outcome: dict[str, Any], most: int) -> bytes:
    """The outcome as JSON of at most so many bytes; a value that cannot be written is an error."""
    try:
        text = json.dumps(outcome, allow_nan=False, separators=(",", ":")).encode()
    except BaseException as error:
        return json.dumps(
            {"error": f"the value cannot be written as JSON: {type(error).__name__}: {error}"[:500]}
        ).encode()
    if len(text) > most:
        return json.dumps({"error": f"the value takes {len(text)} bytes as JSON; at most {most} are allowed"}).encode()
    return text


def usage() -> float:
    """CPU seconds of ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
