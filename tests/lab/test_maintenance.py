from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from species import Average, Mutate, Net, Norm, Plant

import heredity as hd
from heredity.errors import DamagedRecord, LabError, UnknownModel
from heredity.lab.journal import encode_line
from heredity.lab.maintenance import Problem


@pytest.fixture
def family(lab: hd.Lab) -> dict[str, hd.Model]:
    found = {"root": lab.add({"w": torch.arange(4.0)}, name="root")}
    found["a"] = lab.derive(Mutate(), found["root"], seed=1)
    found["b"] = lab.derive(Mutate(), found["root"], seed=2)
    found["c"] = lab.derive(Average(), found["a"], found["b"])
    lab.measure_all(Norm(), list(found.values()))
    return found


def journal(lab: hd.Lab) -> Path:
    return next((lab.path / "births").iterdir())


def reopen(lab: hd.Lab) -> hd.Lab:
    lab.close()
    return hd.Lab(lab.path)


def kinds(problems: list[Problem]) -> list[tuple[str, str]]:
    return sorted((problem.kind, problem.what) for problem in problems)


def test_a_sound_lab_has_no_problems(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    assert lab.verify() == []


def test_damaged_blobs_are_named_and_spoil_nothing_else(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    short, flipped, missing = (lab.blobs.path(family[name].weights_sha256) for name in ("a", "b", "root"))
    content = flipped.read_bytes()
    with reopen(lab) as again:
        short.write_bytes(short.read_bytes()[:-1])
        flipped.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        missing.unlink()
        problems = again.verify()
        assert kinds(problems) == [
            ("damaged-blob", short.stem),
            ("damaged-blob", flipped.stem),
            ("missing-blob", family["root"].id),
        ] or kinds(problems) == sorted(kinds(problems))
        assert {(p.kind, p.what) for p in problems} == {
            ("damaged-blob", short.stem),
            ("damaged-blob", flipped.stem),
            ("missing-blob", family["root"].id),
        }
        by_what = {problem.what: problem.detail for problem in problems}
        assert f"affects {family['a'].id}" in by_what[short.stem]
        assert "bits have flipped" in by_what[flipped.stem]
        assert "restore the blob" in by_what[family["root"].id]
        assert {p.kind for p in again.verify(contents=False)} == {"missing-blob"}
        with pytest.raises(DamagedRecord, match="damaged"):
            again[family["a"].id].weights()
        assert again[family["c"].id].weights()["w"].shape == (4,)
        assert again.derive(Mutate(), family["c"].id).value("norm") is None


def test_damaged_and_torn_lines_cost_only_themselves(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    path = journal(lab)
    lines = path.read_bytes().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if family["b"].id.encode() in line and b'"t":"birth"' in line)
    broken = bytearray(lines[place])
    broken[len(broken) // 2] ^= 4
    lines[place] = bytes(broken)
    path.write_bytes(b"".join(lines) + lines[-1][:-7])
    with reopen(lab) as again:
        problems = {(problem.kind, problem.what): problem.detail for problem in again.verify()}
        assert set(problems) == {
            ("damaged-line", path.name),
            ("torn-line", path.name),
            ("missing-parent", family["c"].id),
        }
        assert f"the line at byte {sum(map(len, lines[:place]))}" in problems["damaged-line", path.name]
        assert family["b"].id in problems["missing-parent", family["c"].id]
        assert len(again) == 3
        assert again["root"].children == [family["a"]]
        with pytest.raises(UnknownModel, match=f"parent {family['b'].id} of {family['c'].id} is in no journal"):
            _ = again[family["c"].id].parents
        assert again.derive(Mutate(), "root", seed=2) == family["b"]  # its weights are there: recorded once more
        assert [problem.kind for problem in again.verify()] == ["damaged-line", "torn-line"]


def test_a_journal_that_was_not_copied_is_noticed(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    with reopen(lab) as again:
        late = again.derive(Mutate(), family["c"].id)
        first, second = sorted((lab.path / "births").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        first.unlink()
        again.index.refresh()
        problems = kinds(again.verify())
        assert problems == [("missing-parent", late.id), ("missing-record", late.id)]  # its environment, too
        assert again[late.id].weights()["w"].shape == (4,)
        with pytest.raises(UnknownModel, match="is in no journal"):
            again[late.id].path()
        with pytest.raises(UnknownModel, match=r"leads to|goes above|is in no journal"):
            again[f"{late.id}~2"]
        assert second.exists()


def test_a_cycle_is_named_and_hangs_nobody(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    line = {"t": "birth", "kind": "mutate", "operator": {"type": "species:Mutate", "version": 1, "config": {}}}
    births = {"1": "2", "2": "3", "3": "1", "4": "1"}  # 4 hangs below the cycle and is no part of it
    text = b"".join(
        encode_line(
            {
                **line,
                "id": child * 16,
                "key": child * 64,
                "weights": child * 64,
                "seed": 0,
                "time": float(child),
                "parents": [{"role": "parent", "id": parent * 16}],
            }
        )
        for child, parent in births.items()
    )
    (lab.path / "births" / "crafted.jsonl").write_bytes(text)
    problems = kinds(lab.verify())
    assert [what for kind, what in problems if kind == "cycle"] == ["1" * 16, "2" * 16, "3" * 16]
    assert {kind for kind, _ in problems} == {"cycle", "missing-blob"}
    four = lab["4" * 16]
    assert {model.id[0] for model in four.ancestors()} == {"1", "2", "3"}
    with pytest.raises(DamagedRecord, match="its own ancestor"):
        four.path()
    with pytest.raises(DamagedRecord, match="ancestors of each other"):
        four.weights()
    lab.gc()
    assert lab["latest"].path()[0] == family["root"]


def test_a_missing_or_changed_small_file_is_named(lab: hd.Lab) -> None:
    from heredity.lab.steps import _record

    def with_file(content: bytes, value: float) -> hd.Model:
        return _record(
            lab,
            {"w": torch.full((2,), value)},
            None,
            owner="x",
            kind="import",
            type_path="heredity.lab.steps:Import",
            config={},
            edges=[],
            seed=0,
            labels={},
            files={"tokenizer.json": content},
            started=0.0,
        )

    one, other = with_file(b"{1}", 1.0), with_file(b"{2}", 2.0)
    child = lab.derive(Mutate(), one)
    assert child.files() == {"tokenizer.json": b"{1}"}
    shas = [model.record["files"]["tokenizer.json"] for model in (one, other)]
    lab.blobs.file_path(shas[0]).unlink()
    lab.blobs.file_path(shas[1]).write_bytes(b"{3}")
    problems = {problem.what: problem for problem in lab.verify()}
    assert set(problems) == {one.id, other.id, child.id}
    assert {problem.kind for problem in problems.values()} == {"missing-file"}
    assert "does not match its name" in problems[other.id].detail


def test_two_writers_that_disagree_are_a_conflict_whatever_is_read_first(lab: hd.Lab) -> None:
    a = lab.add({"w": torch.zeros(2)})
    birth = {key: value for key, value in lab.derive(Mutate(), a).record.items() if key != "time"}
    for name, time, sha in (("0-late", 2e9, "2" * 64), ("z-early", 1.0, "1" * 64)):
        line = encode_line({**birth, "weights": sha, "time": time})
        (lab.path / "births" / f"{name}.jsonl").write_bytes(line)
    for _ in range(2):
        lab.index.refresh()
        assert lab[birth["id"]].weights_sha256 == "1" * 64
        assert ("conflict", birth["id"]) in kinds(lab.verify())
        with lab.index._lock:
            lab.index._clear()
            lab.index._sizes = None


def test_merging_two_labs_is_copying_files(tmp_path: Path) -> None:
    with hd.Lab(tmp_path / "one") as one, hd.Lab(tmp_path / "two") as two:
        root = one.add(Net(4), name="root")
        left = one.derive(Mutate(), root, seed=1)
        assert two.add(one["root"].load(), name="root") == root  # the same weights: the same birth
        right = two.derive(Plant(torch.ones(3)))
        across = two.derive(Mutate(), "root", seed=2)
    for folder in ("births", "weights", "evidence", "files"):
        if (tmp_path / "two" / folder).exists():
            shutil.copytree(tmp_path / "two" / folder, tmp_path / "one" / folder, dirs_exist_ok=True)
    with hd.Lab(tmp_path / "one") as both:
        assert set(both.models()) == {root, left, right, across}
        assert both.verify() == []
        child = both.derive(Average(), left, across)
        assert child.mrca(right) is None
        assert left.id in [model.id for model in child.ancestors()]
        assert both[left.id].mrca(both[across.id]) == root
        assert set(both.gc().dropped) >= {left.id, across.id}
        assert both[across.id].weights()["inner.weight"].shape == (4, 4)


def test_a_lab_can_be_moved(tmp_path: Path) -> None:
    with hd.Lab(tmp_path / "here") as lab:
        child = lab.derive(Mutate(), lab.add({"w": torch.zeros(2)}))
    (tmp_path / "here").rename(tmp_path / "there")
    with hd.Lab(tmp_path / "there") as lab:
        assert lab[child.id].weights()["w"].shape == (2,)
    with pytest.raises(LabError, match="no lab at"):
        hd.Lab(tmp_path / "here", mode="r+")
