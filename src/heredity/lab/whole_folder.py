"""Writing a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from heredity.errors import LabError


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place on success and is removed on failure.

    Raises:
        LabError: something could not be written; what was at `folder` before is there still.
    """
    mark = f"{os.getpid()}.{secrets.token_hex(4)}"
    temporary, old = folder.with_name(f".{folder.name}.{mark}"), folder.with_name(f".{folder.name}.{mark}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rename(old)
        try:
            temporary.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise LabError(f"cannot write {folder}: {error.strerror or error}; nothing was exported") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
