"""What a birth was made with, recorded beside it and outside its key: versions, machine, command, source state."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("heredity", "torch", "numpy", "safetensors", "scikit-learn", "transformers", "peft", "ray")


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@cache
def git_commit() -> str | None:
    """Commit of the working directory, with "-dirty" when files differ from it; None outside a repository."""
    try:
        command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


@cache
def cpu() -> dict[str, Any]:
    """Model and vector capability of the processor: the same bits are only promised on the same kind."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # other systems have no such file; the platform's own answer stands
    return {"model": model, "cores": os.cpu_count(), "capability": _capability()}


def _capability() -> str | None:
    torch = sys.modules.get("torch")
    return torch.backends.cpu.get_cpu_capability() if torch is not None else None


@cache
def machine() -> dict[str, Any]:
    """Where this process computes: what can change the bits of a result."""
    import torch  # noqa: F401 - its capability is part of the answer

    return {
        "versions": package_versions(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu(),
        "host": socket.gethostname(),
    }


@cache
def origin() -> dict[str, Any]:
    """Who asked: the command and the state of its source."""
    return {"command": list(sys.orig_argv), "git": git_commit()}


def environment() -> dict[str, Any]:
    """The full description of this process."""
    return {**machine(), **origin()}
