"""heredity show: everything about one model."""

from __future__ import annotations

import subprocess
import sys

from heredity.cli.record import architecture_line


def test_it_says_who_what_and_with_whom(run, family):
    out = run("show", "merged").out
    for fact in (family.merged.id, family.merged.key, "[merged]", "Mean version 1", "generation=1", "mate", "base"):
        assert fact in out
    assert "Children: 2 (2 mutate)" in out and family.first.id[:6] in out and family.lost.id[:6] in out
    # The mean of 6 and 9 is 7.5: 1.5 above its primary parent.
    measured = out.split("Measurements")[1].split("Weights")[0].split()
    assert measured[measured.index("score") :][:4] == ["score", "7.5000", "+1.5000", "to"]


def test_configuration_is_compared_with_the_parent_of_the_same_operator(run):
    out = run("show", "best:score~1").out
    assert "amount  0.25  was 0.5" in out
    assert "was" not in run("show", "maths").out.split("Configuration")[1].split("Parents")[0]


def test_failures_notes_tags_and_deaths_are_shown(run, family):
    third = run("show", family.third.id[:8]).out
    assert "no answer could be read" in third and "looks [bold]good" in third and "candidate" in third
    assert "ago: truncation" in run("show", family.lost.id).out


def test_dropped_weights_are_said_to_be_rebuildable(run, family):
    assert "stored" in run("show", "merged").out
    family.lab.drop([family.lost])
    assert "rebuilt from the record" in run("show", family.lost.id).out
    assert run("show", family.lost.id, "--json").json["weights"]["stored"] is False


def test_json_holds_the_record_and_what_came_later(run, family):
    model = run("show", "maths", "--json").json
    assert model["settings"] == {"amount": 1.0, "data": "Source", "data.split": "maths"}
    assert [child["id"] for child in model["children"]] == [family.merged.id]
    assert model["weights"]["bytes"] == 12 and model["weights"]["stored"] is True  # three float32
    assert model["death"] is None and model["environment"]["versions"]["torch"]
    assert set(model["cost"]) == {"wall", "cpu", "peak_rss", "threads"}
    lost = run("show", family.lost.id, "--json").json
    assert lost["death"]["reason"] == "truncation"


def test_the_rebuild_command_can_be_copied(run, family):
    commands = run("show", "ancestor", "--json").json["commands"]
    code = commands["load"].replace(".load()", ".weights()['w'].tolist()") + "; print(model)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[1.0, 2.0]"
    assert commands["export"].startswith(f"heredity export {family.ancestor.id[:6]} ")


def test_architectures_in_a_few_words():
    assert architecture_line({"kind": "class", "path": "nets:MLP", "config": {"width": 8}}) == "MLP(width=8)"
    assert architecture_line({"kind": "transformers", "class": "Llama", "config": {"num_hidden_layers": 2}}) == (
        "Llama, 2 layers"
    )
    assert "only weights" in architecture_line(None)
