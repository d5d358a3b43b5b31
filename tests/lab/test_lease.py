from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from species import Logged

import heredity as hd
from heredity.lab.lease import LeaseBook, host_identity, start_mark


def other_owner(folder: Path, birth: str, **owner: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / birth
    content = {"host": host_identity(), "pid": os.getpid(), "started": start_mark(os.getpid()), **owner}
    path.write_text(json.dumps(content) + f"\n{birth} parent\n")
    return path


def test_a_lease_is_held_by_one(tmp_path: Path) -> None:
    one, other = LeaseBook(tmp_path), LeaseBook(tmp_path)
    assert one.acquire("b1", ["p"])
    assert not other.acquire("b1", [])
    assert not one.acquire("b1", [])  # another thread of the same process
    assert other.needed() == {"b1", "p"}
    other.release("b1")  # not its own: nothing happens
    assert not other.acquire("b1", [])
    one.release("b1")
    assert other.acquire("b1", [])
    one.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_blocks_nobody(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    started = start_mark(dead.pid) or "0"
    dead.wait()
    other_owner(tmp_path, "b1", pid=dead.pid, started=started)
    other_owner(tmp_path, "b2", started="1")  # our process id, another process
    book = LeaseBook(tmp_path, expiry=3600)
    assert book.needed() == set()
    assert book.acquire("b1", [])
    assert book.acquire("b2", [])
    book.close()


def test_a_killed_owner_that_nobody_waited_for_is_dead(tmp_path: Path) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    started = start_mark(zombie.pid)
    assert started is not None
    other_owner(tmp_path, "b1", pid=zombie.pid, started=started)
    book = LeaseBook(tmp_path, expiry=3600)
    assert not book.acquire("b1", [])
    zombie.kill()
    while start_mark(zombie.pid) is not None:
        time.sleep(0.01)
    assert book.acquire("b1", [])
    zombie.wait()
    book.close()


def test_an_owner_elsewhere_is_given_its_time(tmp_path: Path) -> None:
    path = other_owner(tmp_path, "b1", host="elsewhere")
    old = time.time() - 10_000  # whatever its clock says
    os.utime(path, (old, old))
    book = LeaseBook(tmp_path, expiry=0.2)
    assert not book.acquire("b1", [])
    begun = time.monotonic()
    os.utime(path, (old + 1, old + 1))  # a sign of life
    assert not book.acquire("b1", [])
    while not book.acquire("b1", []):
        assert time.monotonic() - begun < 10
        time.sleep(0.01)
    assert time.monotonic() - begun > 0.2
    book.close()


def test_a_live_owner_keeps_its_lease_beyond_expiry(tmp_path: Path) -> None:
    one, other = LeaseBook(tmp_path, expiry=0.3), LeaseBook(tmp_path, expiry=0.3)
    assert one.acquire("b1", [])
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert not other.acquire("b1", [])
        time.sleep(0.02)
    one.close()
    other.close()


def test_an_owner_that_stopped_loses_its_lease_and_does_not_take_it_back(tmp_path: Path) -> None:
    one, other = LeaseBook(tmp_path, expiry=0.1), LeaseBook(tmp_path, expiry=0.1)
    one._keep_beating = lambda: None  # type: ignore[method-assign] # as if suspended
    assert one.acquire("b1", [])
    while not other.acquire("b1", []):
        time.sleep(0.01)
    one.release("b1")
    assert (tmp_path / "b1").exists()
    other.close()


def test_the_owners_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    book = LeaseBook(tmp_path)
    for n in range(3000):
        assert book.acquire(f"b{n}", ["0123456789abcdef"] * 3)
        book.release(f"b{n}")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000
    book.close()


def test_gc_removes_what_dead_owners_left(lab: hd.Lab) -> None:
    other_owner(lab.path / "leases", "b1", started="1")
    other_owner(lab.path / "leases", ".1-abc", started="1")
    other_owner(lab.path / "leases", "b2")
    lab.gc()
    assert {path.name for path in (lab.path / "leases").iterdir()} == {"b2"}


TOGETHER = """
import sys, heredity as hd
from species import Logged
lab = hd.Lab(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
requests = [(Logged(sys.argv[2], float(n), 0.02),) for n in range(20)]
print([m.weights_sha256 for m in lab.derive_all(requests, executor=sys.argv[3])])
"""


def ask(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "HEREDITY_ALLOW": "species"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes:2"])
def test_two_processes_that_ask_for_the_same_births_run_each_once(tmp_path: Path, executor: str) -> None:
    log = tmp_path / "log"
    both = [ask(TOGETHER, str(tmp_path / "lab"), str(log), executor) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120)[0] for process in both]
    assert answers[0] == answers[1] != ""
    assert sorted(map(float, log.read_text().split())) == [float(n) for n in range(20)]
    with hd.Lab(tmp_path / "lab") as lab:
        assert len(lab) == 20
        assert len(list((lab.path / "births").iterdir())) == 2  # both wrote: the work was shared


def test_a_birth_that_a_dead_process_began_is_run_at_once(lab: hd.Lab, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with hd.Lab(tmp_path / "second") as second:
        birth = second.derive(Logged(str(log))).id
    other_owner(lab.path / "leases", birth, started="1")
    begun = time.monotonic()
    lab.derive(Logged(str(log)))
    assert time.monotonic() - begun < 5
    assert len(log.read_text().split()) == 2
