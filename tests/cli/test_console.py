"""Printing: nothing hostile reaches a terminal, columns line up, a terminal's width is kept."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from heredity.cli.console import Out, ago, change, duration, number, plural, safe, size


@given(st.text())
def test_safe_text_is_printable_and_unchanged_where_it_was(text):
    assert safe(text).isprintable()
    assert not text.isprintable() or safe(text) == text


def test_numbers_times_and_sizes():
    assert [number(value) for value in (0, 0.5, -0.5, 12.345, 999.999, 12345.67, 2e6, 5e-4)] == [
        "0.0000", "0.5000", "-0.5000", "12.35", "1000.00", "12345.7", "2.000e+06", "5.000e-04",
    ]  # fmt: skip
    assert [ago(0, seconds) for seconds in (0, 59, 60, 3600, 86400)] == ["0s", "59s", "1m", "1h", "1d"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", ago(0, 31 * 86400))
    assert [duration(seconds) for seconds in (0.0005, 59.9, 60, 3599, 90_000)] == [
        "0 ms", "59.9 s", "1m 00s", "59m 59s", "25h 00m",
    ]  # fmt: skip
    assert [size(count) for count in (1, 999, 1000, 10**9)] == ["1 byte", "999 bytes", "1.0 kB", "1.0 GB"]
    assert [plural(count, "birth") for count in (0, 1, 2000)] == ["0 births", "1 birth", "2,000 births"]
    assert change(1.0, 0.5).plain == "-0.5000" and change(0.5, 1.0).plain == "+0.5000" and not change(None, 1.0)


def test_columns_line_up_and_empty_ones_vanish(capsys):
    Out().rows([["a", "", "1"], ["日本", "", "22"]], header=["x", "y", "n"], right=[2])
    assert capsys.readouterr().out.splitlines() == ["x      n", "a      1", "日本  22"]


def in_terminal(*arguments: str, columns: int, encoding: str = "utf-8") -> str:
    """What a command prints to a terminal of this width."""
    outer, inner = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", "PYTHONIOENCODING": encoding}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "heredity", *arguments]
    with subprocess.Popen(command, stdout=inner, stdin=inner, stderr=inner, env=environment) as process:
        os.close(inner)
        pieces = []
        try:
            while piece := os.read(outer, 65536):
                pieces.append(piece)
        except OSError:  # the other end was closed: the command has ended
            pass
        process.wait(60)
    os.close(outer)
    return b"".join(pieces).decode(encoding)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_lines_fit_the_terminal_and_hostile_names_change_nothing(family, columns):
    colours = re.compile(r"\x1b\[[0-9;]*m")
    for command in (["log"], ["tree"], ["path", "best", "-m", "score"]):
        out = in_terminal(*command, "--lab", str(family.path), columns=columns)
        assert colours.search(out)
        plain = colours.sub("", out)
        assert "\x1b" not in plain and "\u202e" not in plain
        assert max(cell_len(line) for line in plain.split("\r\n")) <= columns
    assert "[red]" in in_terminal("show", "latest~1", "--lab", str(family.path), columns=columns)


def test_a_terminal_without_unicode_gets_ascii(family):
    out = in_terminal("tree", "--lab", str(family.path), columns=80, encoding="ascii")
    assert "M" in out and "... 2 extinct" in out


def test_a_pipe_gets_whole_lines_without_colour(run):
    out = run("tree").out
    assert "\x1b" not in out and all(line == line.rstrip() for line in out.splitlines())
