"""Where Heredity keeps what may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/heredity, by default ~/.cache/heredity."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heredity"
