from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from species import Mutate, Norm

import heredity as hd
from heredity.errors import NewerFormat, ReadOnlyLab
from heredity.folders import cache_folder
from heredity.lab.journal import Damage, decode_line, encode_line, read_lines

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "crc"), json_values, min_size=1, max_size=5))
def test_a_line_comes_back_and_stays_one_line(record: dict[str, object]) -> None:
    line = encode_line(record)
    assert line.count(b"\n") == 1
    assert decode_line(line[:-1]) == record


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    line = bytearray(encode_line({"t": "note", "id": "0123456789abcdef", "text": "a \N{SNOWMAN}"})[:-1])
    bit = data.draw(st.integers(0, len(line) * 8 - 1))
    line[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"checksum|object|JSON|codec|Expecting"):
        decode_line(bytes(line))


def test_a_torn_line_is_left_for_later_and_a_damaged_one_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [encode_line({"t": "note", "n": n}) for n in range(4)]
    path.write_bytes(lines[0] + lines[1][:9] + b"X" + lines[1][10:] + lines[2] + lines[3][:-5])
    found = list(read_lines(path))
    assert [item["n"] if isinstance(item, dict) else type(item) for _, item, _ in found] == [0, Damage, 2]
    offset = found[-1][0]
    with path.open("ab") as file:
        file.write(lines[3][-5:])
    assert [item["n"] for _, item, _ in read_lines(path, offset) if isinstance(item, dict)] == [3]


def test_a_newer_format_is_a_clear_error(lab: hd.Lab) -> None:
    (lab.path / "births" / "new.jsonl").write_bytes(encode_line({"t": "journal", "format": 99}))
    with pytest.raises(NewerFormat, match=r"new\.jsonl has journal format 99, this version reads up to 1: pip"):
        hd.Lab(lab.path)


def test_a_line_of_unknown_shape_is_reported_and_costs_nothing_else(lab: hd.Lab) -> None:
    a = lab.add({"w": torch.zeros(1)})
    strange = [{"t": "birth", "id": 3}, {"id": "no type"}, {"t": "death", "ids": 5}, {"t": "plan", "id": a.id, "x": 1}]
    (lab.path / "births" / "x.jsonl").write_bytes(b"".join(map(encode_line, strange)))
    assert [problem.kind for problem in lab.verify()] == ["damaged-line"] * 3
    assert len(lab) == 1


def grown(lab: hd.Lab) -> tuple[list[str], hd.Model]:
    a = lab.add({"w": torch.zeros(4)}, name="ancestor")
    children = lab.derive_all([hd.Request(Mutate(), (a,), seed=seed) for seed in range(5)], measure=Norm())
    lab.name(children[2], "middle")
    return [model.id for model in lab.models()], children[2]


def index_file() -> Path:
    return max(cache_folder().glob("*.sqlite"), key=lambda path: path.stat().st_mtime_ns)


def check(lab: hd.Lab, ids: list[str], middle: hd.Model) -> None:
    assert [model.id for model in lab.models()] == ids
    assert lab["middle"] == middle
    assert lab["middle"].value("norm") == middle.value("norm")
    lab.add({"w": torch.ones(1)})
    assert len(lab) == len(ids) + 1


@pytest.mark.parametrize("how", ["deleted", "garbage", "truncated", "other version", "page"])
def test_an_index_that_is_lost_or_damaged_is_made_again(tmp_path: Path, how: str) -> None:
    with hd.Lab(tmp_path / "lab") as lab:
        ids, middle = grown(lab)
        value = middle.value("norm")
    path = index_file()
    if how == "deleted":
        path.unlink()
    elif how == "garbage":
        path.write_bytes(b"not a database at all" * 500)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "page":
        content = bytearray(path.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 1")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    with hd.Lab(tmp_path / "lab") as lab:
        assert lab["middle"].value("norm") == value
        check(lab, ids, lab["middle"])
    with hd.Lab(tmp_path / "lab") as lab:
        assert len(lab) == len(ids) + 1


def test_an_index_that_is_damaged_while_open_is_made_again(lab: hd.Lab) -> None:
    ids, middle = grown(lab)
    path = index_file()
    lab.index.query("PRAGMA wal_checkpoint(TRUNCATE)")
    lab.index._database().execute("PRAGMA cache_size = 0")
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 60000)
    check(lab, ids, middle)


def test_an_unwritable_cache_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hd.Lab(tmp_path / "lab") as lab:
        ids, _ = grown(lab)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made under a file
    with hd.Lab(tmp_path / "lab") as lab:
        check(lab, ids, lab["middle"])


def test_a_lab_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    import shutil

    with hd.Lab(tmp_path / "lab") as lab:
        grown(lab)
        shutil.rmtree(tmp_path / "lab")
    with hd.Lab(tmp_path / "lab") as lab:
        assert len(lab) == 0
        first = lab.add({"w": torch.zeros(1)})
        journal = next((lab.path / "births").iterdir())
        other = encode_line({"t": "note", "id": first.id, "text": "x", "time": 1.0})
        journal.write_bytes(other + journal.read_bytes())  # an edited journal, longer than before
        lab.index.refresh()
        assert (len(lab), first.remarks) == (1, ["x"])
        journal.unlink()
        lab.index.refresh()
        assert len(lab) == 0


def test_two_readers_share_one_index(lab: hd.Lab) -> None:
    ids, _ = grown(lab)
    with hd.Lab(lab.path) as other:
        a = other["ancestor"]
        child = other.derive(Mutate(), a, seed=77)
        assert lab["latest"] == child
        lab.derive(Mutate(), a, seed=78)
        other.index.refresh()
        assert len(lab) == len(other) == len(ids) + 2


def test_a_torn_journal_of_a_killed_writer_is_not_read_for_every_birth(
    lab: hd.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = lab.add({"w": torch.zeros(1)})
    (lab.path / "births" / "killed.jsonl").write_bytes(encode_line({"t": "note", "id": a.id, "text": "x"})[:-3])
    lab.index.refresh()
    calls: list[list[str]] = []
    ingest = lab.index._ingest
    monkeypatch.setattr(
        lab.index, "_ingest", lambda names, sizes, **rest: (calls.append(names), ingest(names, sizes, **rest))
    )
    lab.derive(Mutate(), a)
    assert calls == []


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    with hd.Lab(tmp_path / "lab") as lab:
        a = lab.add({"w": torch.zeros(1)})
    births = tmp_path / "lab" / "births"
    births.chmod(0o555)
    try:
        with hd.Lab(tmp_path / "lab") as lab:
            assert lab["latest"] == a
            with pytest.raises(ReadOnlyLab, match="cannot write to the lab"):
                lab.note(a, "x")
    finally:
        births.chmod(0o755)


FULL = """
import resource, signal, sys, torch, heredity as hd
from heredity.errors import LabError
from species import Mutate, Logged
lab = hd.Lab(sys.argv[1])
what = sys.argv[2]
a = lab["ancestor"]
limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
if what == "blob":
    limit(2000)
    call = lambda: lab.add({"w": torch.ones(4000)})
elif what == "journal":
    import pathlib
    lab.note(a, "before")
    limit(lab._writer.path.stat().st_size + 40)  # the next line fits only in part
    call = lambda: lab.note(a, "x" * 300)
elif what == "first line":
    limit(10)
    call = lambda: lab.note(a, "x")
else:
    class Saves(Mutate):
        pass
    from species import Checkpoints
    limit(3000)
    call = lambda: lab.derive(Checkpoints(4000), a)
try:
    call()
except Exception as error:
    print(type(error).__name__, error)
else:
    print("written")
limit(resource.RLIM_INFINITY)
print([m.id for m in lab.models()] == [a.id], [p.kind for p in lab.verify()])
child = lab.derive(Mutate(), a)
print(len(lab), child.weights()["w"].shape[0])
"""


@pytest.mark.parametrize(
    ("what", "error"),
    [("blob", "LabError"), ("journal", "LabError"), ("first line", "LabError"), ("checkpoint", "BirthFailed")],
)
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, what: str, error: str) -> None:
    with hd.Lab(tmp_path / "lab") as lab:
        lab.add({"w": torch.zeros(4)}, name="ancestor")
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "lab"), what],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parent,
        env={**os.environ, "HEREDITY_ALLOW": "species"},
    )
    lines = run.stdout.splitlines()
    assert lines[1:] == ["True []", "2 4"], run.stdout + run.stderr
    assert lines[0].startswith(error)
    assert "nothing was" in lines[0] or "large" in lines[0], lines[0]
    with hd.Lab(tmp_path / "lab") as lab:
        assert (len(lab), lab.verify()) == (2, [])
        assert not [path for path in lab.path.rglob(".*") if path.is_file()]


def test_times_do_not_run_backwards_within_a_journal(lab: hd.Lab) -> None:
    before = time.time()
    a = lab.add({"w": torch.zeros(1)})
    assert before <= a.record["time"] <= time.time()
