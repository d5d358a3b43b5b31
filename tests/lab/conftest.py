"""Labs for the tests of the record; `species` holds their operators, where worker processes can import them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import heredity as hd
from heredity.lab import allow

allow("species")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[hd.Lab]:
    with hd.Lab(tmp_path / "lab") as opened:
        yield opened
