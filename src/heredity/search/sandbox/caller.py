"""`run_python`: the way into the sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from heredity.search.sandbox.exchange import SandboxResult
from heredity.search.sandbox.worker import Worker

Call: TypeAlias = "str | tuple[str, Sequence[Any]] | tuple[str, Sequence[Any], Mapping[str, Any]]"


def run_python(
    source: str,
    call: Call | None = None,
    *,
    timeout_s: float = 5.0,
    memory_mb: int = 512,
    worker: Worker | None = None,
    disk_mb: int = 16,
    threads: int = 64,
    output_bytes: int = 64 << 10,
    result_bytes: int = 1 << 20,
    allow_weak: bool = False,
    namespaces: bool = True,
) -> SandboxResult:
    """Run Python source that nobody trusts, in a process of its own that is walled in before it sees the source.

    Walls that must stand, else nothing is run (Linux on x86-64 or AArch64, kernel 5.13 or newer):

    * files (Landlock): it writes in a fresh temporary folder only, and reads that, the interpreter's and the system's
      libraries and a few facts about the processor; no home folder, no /proc of others, no /tmp;
    * calls (seccomp): no sockets of any kind, no new processes or programs, no signals to and no looking into others,
      no mounts, no changes of limits, modes or owners;
    * privileges (no_new_privs; capabilities are dropped; root becomes a user who owns nothing);
    * limits: address space, CPU time, size of files, threads, open files, no core dumps.

    Walls that are added where the kernel allows: namespaces of its own for processes, mounts, network and IPC ("user"
    namespaces, or as root), and with them a temporary folder in memory that vanishes. Without them the folder's size
    is watched. In any case the environment is empty of the caller's, standard input is empty, output and result are
    cut off, the result is JSON, and when the run ends, by itself, by time-out or because the caller died, all that it
    started is killed.

    Not prevented: it learns which paths exist (`stat`), it uses its time and memory, and its value is what *it* says:
    code that wants to can return a value that it has not computed, also where a preloaded function judges it.

    Args:
        source: a module. Without a call it runs as `__main__`.
        call: a function of the source to call afterwards, by name, with arguments and keywords that JSON can write; or
            "package.module:function", preferably of a module that the worker preloads, which is given the source's
            module as its first argument.
        timeout_s: wall seconds.
        memory_mb: address space beyond what the server has mapped.
        worker: a server to fork from; by default one is started for this run (about a twentieth of a second).
        disk_mb: files in all, and each of them. threads: at once. output_bytes: of stdout and stderr together.
        result_bytes: of the value as JSON.
        allow_weak: run all the same where a wall that must stand is missing; `SandboxResult.walls` says which stood.
            Only for code that is broken at worst, never for code that may be hostile.
        namespaces: whether to ask for them.

    Raises:
        ValueError: a limit that is not positive, or arguments that JSON cannot write.
        SandboxUnavailable: a wall that must stand is missing, or the server does not start.

    >>> run_python("def double(x): return 2 * x", ("double", [21])).value
    42
    """
    sizes = {"memory_mb": memory_mb, "disk_mb": disk_mb, "threads": threads}
    sizes |= {"output_bytes": output_bytes, "result_bytes": result_bytes}
    if not 0 < timeout_s < 1e6 or min(sizes.values()) < 1:
        raise ValueError(f"limits of a run must be positive, got timeout_s={timeout_s}, {sizes}")
    wanted = None
    if call is not None:
        name, args, kwargs = _parts(call)
        try:
            wanted = [name, *json.loads(json.dumps([list(args), dict(kwargs)], allow_nan=False))]
        except (TypeError, ValueError) as error:
            raise ValueError(f"the arguments of {name!r} cannot be written as JSON: {error}") from error
    own = Worker() if worker is None else worker
    job = {
        "source": source,
        "call": wanted,
        "timeout_s": float(timeout_s),
        **sizes,
        "allow_weak": allow_weak,
        "namespaces": namespaces,
        "readable": own.readable,
    }
    try:
        return own.run(job)
    finally:
        if worker is None:
            own.close()


def _parts(call: Call) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
    if isinstance(call, str):
        return call, (), {}
    return (call[0], call[1], {}) if len(call) == 2 else call
