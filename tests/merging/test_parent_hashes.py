"""Parents' hashes are remembered, and never for a file that has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from heredity.merging import parent_hashes
from heredity.merging.parent_hashes import remembered_sha256, weights_sha256


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """What was really read; files count as settled at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(parent_hashes, "SETTLED", -1.0)
    seen: list[Path] = []

    def counted(path: Path, stop: object = None) -> str:
        seen.append(path)
        return weights_sha256(path)

    monkeypatch.setattr(parent_hashes, "weights_sha256", counted)
    return seen


def model(path: Path, value: float) -> Path:
    save_file({"w": torch.full((4,), value)}, path)
    return path


def test_a_model_is_read_once(read: list[Path], tmp_path: Path) -> None:
    path = model(tmp_path / "a.safetensors", 1.0)
    expected = weights_sha256(path)
    assert [remembered_sha256(path) for _ in range(3)] == [expected] * 3
    assert read == [path]


def test_other_content_of_the_same_size_and_time_is_read_again(read: list[Path], tmp_path: Path) -> None:
    path = model(tmp_path / "a.safetensors", 1.0)
    first, stat = remembered_sha256(path), path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\x00\x00\x00\x00")  # in place: the inode stays
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the time of change of content can be set back
    assert path.stat().st_size == stat.st_size
    second = remembered_sha256(path)
    assert second != first
    assert second == weights_sha256(path)


def test_a_file_written_a_moment_ago_is_not_remembered(
    read: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent_hashes, "SETTLED", 3600.0)
    path = model(tmp_path / "a.safetensors", 1.0)
    remembered_sha256(path)
    remembered_sha256(path)
    assert read == [path, path]


def test_a_cache_that_cannot_be_written_is_done_without(read: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    path = model(tmp_path / "a.safetensors", 1.0)
    assert remembered_sha256(path) == remembered_sha256(path) == weights_sha256(path)
    assert read == [path, path]


def test_a_damaged_note_is_read_over(read: list[Path], tmp_path: Path) -> None:
    path = model(tmp_path / "a.safetensors", 1.0)
    remembered_sha256(path)
    [note] = (tmp_path / "cache" / "heredity" / "parents").iterdir()
    note.write_bytes(b"\xff" * 10)
    assert remembered_sha256(path) == weights_sha256(path)
    assert len(read) == 2
