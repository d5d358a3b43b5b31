"""heredity verify: problems by name, exit codes, advice."""

from __future__ import annotations


def test_a_whole_lab(run):
    ended = run("verify")
    assert ended.code == 0 and "9 births, whole" in ended.out
    assert run("verify", "--json").json["ok"] is True


def test_a_torn_line_is_reported_and_is_no_failure(run, family):
    family.lab.close()
    journal = next((family.path / "births").glob("*.jsonl"))
    with journal.open("ab") as file:
        file.write(b'{"t":"birth","id')
    ended = run("verify")
    assert ended.code == 0 and "torn-line" in ended.out and "nothing to do" in ended.out


def test_a_damaged_blob_fails_and_names_the_model(run, family):
    path = family.lab.blobs.path(family.maths.weights_sha256)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    ended = run("verify", "--json")
    assert ended.code == 1
    problem = ended.json["problems"][0]
    assert problem["kind"] == "damaged-blob" and family.maths.id in problem["detail"]
    assert run("verify", "--fast").code == 0  # it does not read the weights, and says so
    assert "--fast" in run("verify", "--fast").out


def test_missing_weights_come_with_advice(run, family):
    family.lab.blobs.path(family.maths.weights_sha256).unlink()
    ended = run("verify")
    assert ended.code == 1 and "missing-blob (1)" in ended.out and family.maths.id in ended.out
    assert "copy the weights folder" in ended.out and "1 problem" in ended.out
