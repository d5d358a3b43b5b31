"""Pushing and pulling: nothing lost, nothing overwritten, going on after an interruption, two machines at one place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from species import Mutate, Norm, Plant

import heredity as hd
from heredity.errors import LabError, MissingExtra, NewerFormat
from heredity.lab.interchange import places
from heredity.lab.interchange.places import _chain, is_whole, open_place, shown
from heredity.lab.interchange.sync import pull, push
from heredity.lab.journal import FORMAT, encode_line

fsspec = pytest.importorskip("fsspec", reason="URLs are opened by fsspec, which is not installed")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402


@pytest.fixture(autouse=True)
def _empty_memory():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def filled(lab):
    """Three births (one named), one measurement, one piece of evidence: 3 weights and 1 evidence blob."""
    ancestor = lab.add({"w": torch.arange(4.0)}, name="ancestor")
    child = lab.derive(Mutate(0.5), ancestor, seed=1)
    lab.derive(Plant(torch.ones(3)))
    lab.measure(Norm(), child)
    return lab


def content(root: Path) -> dict[str, bytes]:
    """Everything in a lab that is copied."""
    kinds = ("births", "weights", "evidence", "files")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for kind in kinds
        for path in (root / kind).rglob("*")
        if path.is_file()
    }


@pytest.fixture(params=["folder", "file", "memory"])
def url(request, tmp_path):
    return {"folder": str(tmp_path / "far"), "file": f"file://{tmp_path / 'far'}", "memory": "memory://far/lab"}[
        request.param
    ]


def test_there_and_back_is_the_same_lab(filled, url, tmp_path):
    out = push(filled, url)
    assert (out.blobs, out.journals, out.damaged, out.conflicts) == (4, 1, [], [])
    back = pull(tmp_path / "back", url)
    assert (back.blobs, back.journals, back.births) == (4, 1, 3)
    assert content(tmp_path / "back") == content(filled.root)
    with hd.Lab(tmp_path / "back", mode="r") as other:
        assert other.verify() == [] and other["ancestor"].weights()["w"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_second_push_copies_the_tail_alone(filled, url):
    push(filled, url)
    assert push(filled, url).bytes == 0
    before = sum(file.stat().st_size for file in (filled.root / "births").iterdir())
    filled.note(filled["ancestor"], "a later line")
    again = push(filled, url)
    grown = sum(file.stat().st_size for file in (filled.root / "births").iterdir()) - before
    assert (again.blobs, again.journals, again.bytes) == (0, 1, grown)


def test_a_folder_that_was_pushed_to_is_a_lab(filled, tmp_path):
    push(filled, str(tmp_path / "far"))
    with hd.Lab(tmp_path / "far", mode="r") as lab:
        assert len(lab) == 3 and lab.verify() == []


def test_older_never_overwrites_newer(filled, url, tmp_path):
    push(filled, url)
    pull(tmp_path / "old", url)
    filled.note(filled["ancestor"], "newer")
    push(filled, url)
    # the old copy knows less of this journal: pushing it changes nothing, and pulling into the newer lab neither
    assert push(tmp_path / "old", url).bytes == 0
    before = content(filled.root)
    assert pull(filled, url).bytes == 0 and content(filled.root) == before
    assert pull(tmp_path / "old", url).journals == 1
    assert content(tmp_path / "old") == before


def test_two_machines_at_one_place_lose_no_line(filled, url, tmp_path):
    with hd.Lab(tmp_path / "second") as second:
        other = second.add({"w": torch.full((2,), 7.0)}, name="second")
        for round_ in range(3):
            filled.note(filled["ancestor"], f"first {round_}")
            second.note(other, f"second {round_}")
            push(filled, url)
            push(second, url)
        pull(filled, url)
        pull(second, url)
        assert content(filled.root) == content(second.root)
        assert len(filled) == len(second) == 4
        assert [event["text"] for event in map(json.loads, _lines(second, "note"))] == [
            f"{who} {round_}" for round_ in range(3) for who in ("first", "second")
        ]


def _lines(lab: hd.Lab, kind: str) -> list[str]:
    return [line for (line,) in lab.index.query("SELECT line FROM events WHERE t = ? ORDER BY time", (kind,))]


@pytest.mark.parametrize(("weights", "copied"), [("none", 0), ("named", 1), ("all", 3)])
def test_whose_weights_are_copied(filled, url, tmp_path, weights, copied):
    push(filled, url)
    back = pull(tmp_path / "back", url, weights=weights)
    assert back.blobs == copied + 1 and back.births == 3  # the evidence always
    assert len(list((tmp_path / "back" / "weights").rglob("*.safetensors"))) == copied
    out = push(filled, "memory://elsewhere", weights=weights)
    assert out.blobs == copied + 1


def test_dropped_weights_are_rebuilt_from_what_was_copied(filled, url, tmp_path):
    push(filled, url, weights="named")
    pull(tmp_path / "back", url)
    with hd.Lab(tmp_path / "back") as other:
        child = next(model for model in other.models() if model.kind == "mutate")
        assert not other.blobs.has(child.weights_sha256)
        assert torch.equal(child.weights()["w"], filled[child.id].weights()["w"])


def test_journals_that_begin_otherwise_are_named_and_left(filled, url, tmp_path):
    push(filled, url)
    pull(tmp_path / "other", url)
    (journal,) = (tmp_path / "other" / "births").iterdir()
    journal.write_bytes(journal.read_bytes()[:-20] + b"x" * 19 + b"\n" + b"and longer\n")
    before = content(filled.root)
    assert push(tmp_path / "other", url).conflicts == [journal.name]
    assert pull(filled, url).conflicts == [] and content(filled.root) == before


def test_a_torn_last_line_stays_at_home(filled, url, tmp_path):
    (journal,) = (filled.root / "births").iterdir()
    filled.close()
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"t":"bir')
    push(filled.root, url)
    pull(tmp_path / "back", url)
    assert (tmp_path / "back" / "births" / journal.name).read_bytes() == whole


def test_a_copy_that_was_cut_short_is_made_whole(filled, tmp_path):
    far = tmp_path / "far"
    push(filled, str(far))
    (journal,) = (far / "births").iterdir()
    blob = next((far / "weights").rglob("*.safetensors"))
    expected = content(far)
    journal.write_bytes(journal.read_bytes()[:-30])
    blob.write_bytes(blob.read_bytes()[:-1])
    again = push(filled, str(far))
    assert (again.blobs, again.journals) == (1, 1) and content(far) == expected


def test_a_damaged_blob_does_not_travel(filled, url, tmp_path):
    blob = next((filled.root / "weights").rglob("*.safetensors"))
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1])
    assert push(filled, url).damaged == [str(blob.relative_to(filled.root))]
    blob.write_bytes(whole)
    assert push(filled, url).damaged == []
    # and one that is whole is not replaced by a damaged one of another size
    blob.write_bytes(whole[:-1])
    assert push(filled, url).blobs == 0
    pull(tmp_path / "back", url)
    assert (tmp_path / "back" / blob.relative_to(filled.root)).read_bytes() == whole


def test_a_damaged_blob_is_not_taken_in(filled, tmp_path):
    push(filled, "memory://far")
    fs = MemoryFileSystem()
    path = next(path for path in fs.find("/far/weights"))
    fs.pipe_file(path, fs.cat_file(path)[:-1])
    back = pull(tmp_path / "back", "memory://far")
    assert back.damaged == [path.removeprefix("/far/")] and back.blobs == 3
    assert not list((tmp_path / "back" / "weights").rglob(".*"))


def test_a_newer_journal_stays_where_it_is(lab, tmp_path):
    line = encode_line({"t": "journal", "format": FORMAT + 1, "writer": "future", "time": 1.0})
    MemoryFileSystem().pipe_file("/far/births/future.jsonl", line)
    lab.add({"w": torch.zeros(1)})
    with pytest.raises(NewerFormat, match="upgrade"):
        pull(lab, "memory://far")
    assert not (lab.root / "births" / "future.jsonl").exists()
    with hd.Lab(lab.root, mode="r") as again:
        assert len(again) == 1


def test_names_in_a_store_cannot_leave_the_lab(filled, tmp_path):
    push(filled, "memory://far")
    fs = MemoryFileSystem()
    for path in ("/far/births/../../evil.jsonl", "/far/births/.hidden.jsonl", "/far/weights/zz/evil.safetensors"):
        fs.pipe_file(path, b"evil\n")
    pull(tmp_path / "deep" / "back", "memory://far")
    assert content(tmp_path / "deep" / "back") == content(filled.root)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["back"]


class Flaky(MemoryFileSystem):
    """A file system whose line is cut after so many bytes: what was being written stays, half."""

    protocol = "flaky"
    store: dict = {}  # noqa: RUF012 - shared by all instances, as in memory:// itself
    pseudo_dirs = [""]  # noqa: RUF012
    budget = 0

    def _spend(self, path: str, data: bytes) -> None:
        allowed = data[: Flaky.budget]
        Flaky.budget -= len(allowed)
        super().pipe_file(path, allowed)
        if len(allowed) < len(data):
            raise ConnectionError("the line was cut")

    def pipe_file(self, path, value, **_):
        self._spend(path, value)

    def put_file(self, lpath, rpath, **_):
        self._spend(rpath, Path(lpath).read_bytes())

    def get_file(self, rpath, lpath, **_):
        data = self.cat_file(rpath)
        allowed = data[: max(0, Flaky.budget)]
        Flaky.budget -= len(allowed)
        Path(lpath).write_bytes(allowed)
        if len(allowed) < len(data):
            raise ConnectionError("the line was cut")

    def rm_file(self, path):
        if Flaky.budget <= 0:
            raise ConnectionError("the line was cut")  # what is half stays there
        super().rm_file(path)


@pytest.fixture
def flaky():
    """Its URL; nothing is stored there."""
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.store.clear()
    return "flaky://far"


def test_an_interrupted_push_goes_on(filled, flaky, tmp_path):
    sizes = sorted(map(len, content(filled.root).values()))
    Flaky.budget = sizes[0] + sizes[1] - 1  # one blob passes, of the second all but a byte
    with pytest.raises(LabError, match=r"the line was cut; what was copied stays, and pushing again goes on"):
        push(filled, flaky)
    Flaky.budget = 1 << 20
    assert push(filled, flaky).blobs == 3  # and the one that was half is not taken for whole
    back = pull(tmp_path / "back", flaky)
    assert back.damaged == [] and content(tmp_path / "back") == content(filled.root)
    assert push(filled, flaky).bytes == 0


def test_a_journal_goes_over_a_line_that_is_cut_again_and_again(filled, flaky, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "CHUNK", 300)
    monkeypatch.setattr("heredity.lab.interchange.sync.CHUNK", 300)
    (journal,) = (filled.root / "births").iterdir()
    calls, cuts = 0, 0
    while calls < 100:
        calls += 1
        Flaky.budget = 700
        try:
            push(filled, flaky)
            break
        except LabError:
            cuts += 1
    # two pieces of 300 bytes pass in one call
    assert cuts >= journal.stat().st_size // 600 - 1
    pull(tmp_path / "back", flaky)
    assert content(tmp_path / "back") == content(filled.root)


def test_an_interrupted_pull_goes_on(filled, flaky, tmp_path):
    Flaky.budget = 1 << 20
    push(filled, flaky)
    Flaky.budget = 2 * max(open_place(str(filled.root)).blobs().values()) - 1  # one blob passes, the next one in part
    with pytest.raises(LabError, match=r"ConnectionError: the line was cut; what was copied stays"):
        pull(tmp_path / "back", flaky)
    assert not list((tmp_path / "back").rglob(".*"))
    Flaky.budget = 1 << 20
    assert 0 < pull(tmp_path / "back", flaky).blobs < 4
    assert content(tmp_path / "back") == content(filled.root)


def test_many_pushes_leave_few_pieces_to_read(filled):
    model = filled["ancestor"]
    for round_ in range(32):
        filled.note(model, f"round {round_:03d}")
        push(filled, "memory://far")
    store = open_place("memory://far")
    (name,) = store.journals(whole=True)
    (journal,) = (filled.root / "births").iterdir()
    assert store.read_journal(name, 0, 1 << 30) == journal.read_bytes()
    # the first piece holds more than the 32 notes; behind it they double: 16 + 8 + 4 + 2 + 1, at most one more
    assert len(store._chains[name]) <= 7


def test_a_store_brought_to_disk_by_other_means_is_read(filled, tmp_path):
    push(filled, "memory://far")
    fs = MemoryFileSystem()
    for path in fs.find("/far"):
        target = tmp_path / "brought" / path.removeprefix("/far/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(fs.cat_file(path))
    pull(tmp_path / "back", str(tmp_path / "brought"))
    assert content(tmp_path / "back") == content(filled.root)


def test_a_lab_copied_into_a_store_by_other_means_is_read(filled, tmp_path):
    for path, data in content(filled.root).items():
        MemoryFileSystem().pipe_file(f"/far/{path}", data)
    pull(tmp_path / "back", "memory://far")
    assert content(tmp_path / "back") == content(filled.root)
    filled.note(filled["ancestor"], "more")
    assert push(filled, "memory://far").journals == 1
    pull(tmp_path / "back", "memory://far")
    assert content(tmp_path / "back") == content(filled.root)


def test_a_piece_that_is_cut_short_is_sent_again(filled, tmp_path):
    push(filled, "memory://far")
    fs = MemoryFileSystem()
    (piece,) = fs.find("/far/births")
    fs.pipe_file(piece, fs.cat_file(piece)[:-5])  # a store without renaming, interrupted
    with pytest.raises(LabError, match="no lab"):
        pull(tmp_path / "back", "memory://far")
    assert push(filled, "memory://far").journals == 1
    pull(tmp_path / "back", "memory://far")
    assert content(tmp_path / "back") == content(filled.root)


def test_pieces_with_a_gap_are_read_up_to_it():
    assert [piece[2] for piece in _chain([(0, 5, "a"), (3, 9, "b"), (3, 7, "c"), (10, 12, "d")])] == ["a", "b"]
    assert list(_chain([(1, 5, "a")])) == []


def test_progress_ends_at_the_whole(filled):
    told = []
    push(filled, "memory://far", progress=lambda done, total, what: told.append((done, total, what)))
    assert len(told) == 4 and told[-1][0] == told[-1][1] == sum(
        size for path, size in open_place(str(filled.root)).blobs().items()
    )


def test_what_is_wrong_is_said(filled, tmp_path):
    with pytest.raises(LabError, match="there is no lab at memory://nothing"):
        pull(tmp_path / "new", "memory://nothing")
    assert not (tmp_path / "new").exists()
    with pytest.raises(LabError, match="is no URL"):
        push(filled, "nosuchthing://x")
    with pytest.raises(LabError, match="use 'none', 'named' or 'all'"):
        push(filled, "memory://far", weights="some")  # type: ignore[arg-type]
    with hd.Lab(filled.root, mode="r") as reader, pytest.raises(LabError, match="reading only"):
        push(filled, "memory://far")
        pull(reader, "memory://far")


def test_a_password_is_not_shown():
    assert shown("ftp://me:secret@host/lab") == "ftp://…@host/lab"
    with pytest.raises((LabError, MissingExtra)) as caught:
        push("nowhere", "nosuch://me:secret@host/lab")
    assert "secret" not in str(caught.value)


def test_a_header_tells_whether_a_blob_is_whole(filled):
    blob = next((filled.root / "weights").rglob("*.safetensors")).read_bytes()
    path = "weights/ab/x.safetensors"
    for data, whole in ((blob, True), (blob[:-1], False), (blob + b"x", False), (b"", False), (b"\xff" * 64, False)):
        assert is_whole(path, lambda start, end, data=data: data[start:end], len(data)) is whole
