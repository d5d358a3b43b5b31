"""heredity gc: what is kept, what is dropped, and that nothing happens unasked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time


def stored(family) -> set[str]:
    return {name for name, model in family.models.items() if family.lab.blobs.has(model.weights_sha256)}


def test_dead_models_are_dropped_and_survivors_kept(run, family):
    everything = stored(family)
    report = run("gc", "--yes", "--json").json
    assert set(report["dropped"]) == {family.lost.id, family.lost_too.id}
    # one float32 blob is three numbers and a header
    assert report["freed_bytes"] > 24 and stored(family) == everything - {"lost", "lost_too"}
    assert family.lab.rebuild(family.lost)["w"].tolist() == [1.5, 2.5]  # merged (2.5, 3.5) minus 1


def test_dry_run_changes_nothing(run, family):
    before = stored(family)
    report = run("gc", "--dry-run", "--json").json
    assert len(report["dropped"]) == 2 and report["dry_run"] is True and stored(family) == before
    assert "2 models" in run("gc", "--dry-run").out


def test_keep_and_living(run, family):
    kept = run("gc", "--keep", family.lost.id, "--dry-run", "--json").json
    assert kept["dropped"] == [family.lost_too.id]


def test_living_models_go_when_asked_unless_their_weights_are_needed(run, family):
    dropped = run("gc", "--living", "--dry-run", "--json").json["dropped"]
    # first is neither named nor best, but its weights are those of chat, which has a name.
    assert set(dropped) == {family.lost.id, family.lost_too.id}
    family.lab.name(family.third, "chat")
    dropped = run("gc", "--living", "--dry-run", "--json").json["dropped"]
    assert set(dropped) == {family.lost.id, family.lost_too.id, family.first.id, family.chat.id}
    survivors_kept = run("gc", "--dry-run", "--json").json["dropped"]
    assert set(survivors_kept) == {family.lost.id, family.lost_too.id}


def test_it_does_not_drop_without_being_told(run, family):
    before = stored(family)
    ended = run("gc")
    assert ended.code == 2 and "--yes" in ended.err and stored(family) == before
    assert run("gc", "--json").code == 2 and stored(family) == before


def test_nothing_to_drop(run, family):
    run("gc", "--yes")
    ended = run("gc")
    assert ended.code == 0 and "nothing to drop" in ended.out


def test_a_terminal_is_asked(run, family):
    # A blob of no birth, two hours old, as a killed run leaves behind.
    left_over = family.lab.blobs.path("ab" * 32)
    left_over.parent.mkdir(exist_ok=True)
    left_over.write_bytes(b"x" * 100)
    os.utime(left_over, (time.time() - 7200,) * 2)
    assert "1 blob" in in_terminal(family.path, b"n\n") and left_over.exists()
    assert "dropped;" in in_terminal(family.path, b"y\n") and not left_over.exists()


def in_terminal(lab, answer: bytes) -> str:
    """What `heredity gc` prints when its input is a terminal."""
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "heredity", "gc", "--lab", str(lab)]
    with subprocess.Popen(command, stdin=inner, stdout=subprocess.PIPE, text=True) as process:
        os.write(outer, answer)
        out, _ = process.communicate(timeout=60)
    os.close(inner)
    os.close(outer)
    return out
