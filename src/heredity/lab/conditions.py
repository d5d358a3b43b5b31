"""The conditions under which every birth and measurement runs, wherever it runs: the same request gives the same bits.

They are the number of compute threads, the global random generators, default dtype and device, and gradient mode.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any


@contextlib.contextmanager
def fixed_conditions(threads: int, seed: int) -> Iterator[None]:
    """A fixed number of compute threads, a fresh process's defaults, seeded global generators; all put back after."""
    import numpy
    import torch

    python_state, numpy_state = random.getstate(), numpy.random.get_state()  # noqa: NPY002 - guarded, not used
    before, dtype, device = torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device()
    # Asking for the state of a GPU that nobody has used would start it in every worker.
    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call,unused-ignore]
    devices = range(torch.cuda.device_count()) if started else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_blas_threads(threads))
        if _accelerated():
            torch.manual_seed(seed)
        else:  # the same, without torch's costly note to seed GPUs that may come
            torch.default_generator.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)  # noqa: NPY002
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
        if before != threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if before != threads:
                torch.set_num_threads(before)
            if dtype != torch.float32:
                torch.set_default_dtype(dtype)
            random.setstate(python_state)
            numpy.random.set_state(numpy_state)  # noqa: NPY002


@cache
def _accelerated() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()


def _blas_threads(threads: int) -> contextlib.AbstractContextManager[Any]:
    """Limit NumPy's and SciPy's linear algebra, where it does not already run with that many threads."""
    loaded = frozenset(name for name in ("numpy", "scipy", "sklearn") if name in sys.modules)
    controller = _controller(loaded)
    if all(library.num_threads == threads for library in controller.lib_controllers):
        return contextlib.nullcontext()
    return controller.limit(limits=threads)


@cache
def _controller(loaded: frozenset[str]) -> Any:
    # Finding the libraries takes milliseconds; it is done again when a package that brings one was imported.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
