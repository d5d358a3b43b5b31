from __future__ import annotations

import pytest
from species import Average, Mutate, Norm

import heredity as hd
from heredity.errors import AmbiguousModel, LabError, UnknownModel
from heredity.lab.journal import encode_line


@pytest.fixture
def family(lab: hd.Lab) -> dict[str, hd.Model]:
    """root → a → b → c, root → d, (b, d) → e."""
    import torch

    found = {"root": lab.add({"w": torch.full((3,), 2.0)}, name="root")}
    found["a"] = lab.derive(Mutate(), found["root"], seed=1)
    found["d"] = lab.derive(Mutate(), found["root"], seed=2)
    found["b"] = lab.derive(Mutate(), found["a"], seed=3)
    found["c"] = lab.derive(Mutate(), found["b"], seed=4, name="winner")
    found["e"] = lab.derive(Average(), found["b"], found["d"])
    return found


def test_references(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    lab.measure_all(Norm(), list(family.values()))
    worth = {name: model.value("norm") for name, model in family.items()}
    assert lab[family["c"].id] == lab[family["c"].key] == lab[family["c"].id[:12]] == lab["winner"] == family["c"]
    assert lab["best"] == lab["best:norm"] == family[max(worth, key=lambda name: worth[name])]
    assert lab["best:norm:min"] == family[min(worth, key=lambda name: worth[name])]
    assert lab["latest"] == family["e"]
    assert lab["winner~"] == lab["winner~1"] == family["b"]
    assert lab["winner~3"] == lab["winner~2~"] == lab["latest~3"] == family["root"]
    assert family["c"].id in lab
    assert "0" * 16 not in lab


@pytest.mark.parametrize(
    ("reference", "match"),
    [
        ("", "names no model"),
        ("nobody", "no model is called 'nobody'.*names here: root, winner"),
        ("winner~9", "which has no parents"),
        ("best:speed", "no model was measured by 'speed'"),
        ("best:norm:up", "max or min"),
        ("best", "nothing was measured"),
        ("ffffffffffffffffff", "no model is called"),
    ],
)
def test_what_a_reference_does_not_mean_is_explained(
    lab: hd.Lab, family: dict[str, hd.Model], reference: str, match: str
) -> None:
    with pytest.raises(UnknownModel, match=match):
        lab[reference]


def test_a_key_is_read_to_its_end(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    key = family["c"].key
    with pytest.raises(UnknownModel):
        lab[key[:-1] + ("0" if key[-1] != "0" else "1")]


def test_an_ambiguous_prefix_lists_what_it_may_mean(lab: hd.Lab) -> None:
    line = {"t": "birth", "kind": "init", "operator": {"type": "x:X"}, "parents": [], "weights": "0", "time": 1.0}
    ids = ["ab" + "0" * 14, "abc" + "0" * 13]
    (lab.path / "births" / "x.jsonl").write_bytes(b"".join(encode_line({**line, "id": i, "key": i}) for i in ids))
    with pytest.raises(AmbiguousModel, match=f"{ids[0]}, {ids[1]}"):
        lab["ab"]
    assert lab["abc"].id == ids[1]


def test_names_move_and_later_lines_count(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    a, b = family["a"], family["b"]
    lab.name(a, "champion")
    lab.name(b, "champion")
    lab.name(b, "elder")
    assert (lab["champion"], a.names, b.names, b.name) == (b, [], ["champion", "elder"], "champion")
    lab.tag(a, "odd", "blue")
    lab.tag(a, "odd")
    lab.note(a, "looks odd")
    lab.note(a, "still odd")
    assert (a.tags, a.remarks) == (["odd", "blue"], ["looks odd", "still odd"])
    lab.die([a, b], "not selected")
    assert set(lab.dead([m.id for m in family.values()])) == {a.id, b.id}
    for name in ("latest", "best", "a~b", "best:x", " a", "", "cafe"):
        with pytest.raises(LabError, match="cannot be a name"):
            lab.name(a, name)
    with hd.Lab(lab.path) as again:
        assert again["elder"] == b


def test_walking_the_lineage(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    root, a, b, c, d, e = (family[name] for name in ("root", "a", "b", "c", "d", "e"))
    assert e.path() == [root, a, b, e]
    assert root.path() == [root]
    assert set(e.ancestors()) == {root, a, b, d}
    assert set(root.children) == {a, d}
    assert b.children == [c, e]
    assert d.children == [e]
    assert c.mrca(e) == b
    assert e.mrca(e) == e
    assert d.mrca(c) == root
    assert a.mrca(c) == a
    assert list(lab.models()) == [root, a, d, b, c, e]


def test_mrca_does_not_trust_clocks(lab: hd.Lab) -> None:
    """Of a chain r → p → (x, y), p is the answer even where another machine's clock put r after it."""
    line = {"t": "birth", "kind": "init", "operator": {"type": "x:X"}, "weights": "0"}
    births = [("r", [], 9.0), ("p", ["r"], 1.0), ("x", ["p"], 2.0), ("y", ["p"], 3.0)]
    text = b"".join(
        encode_line(
            {**line, "id": i * 16, "key": i, "time": t, "parents": [{"role": "parent", "id": p * 16} for p in up]}
        )
        for i, up, t in births
    )
    (lab.path / "births" / "x.jsonl").write_bytes(text)
    lab.index.refresh()
    assert lab["x" * 16].mrca(lab["y" * 16]) == lab["p" * 16]


def test_unrelated_models_have_no_common_ancestor(lab: hd.Lab, family: dict[str, hd.Model]) -> None:
    import torch

    assert family["e"].mrca(lab.add({"w": torch.zeros(3)})) is None


def test_best_is_what_searches_aimed_at(lab: hd.Lab) -> None:
    import torch

    root = lab.add({"w": torch.zeros(3)})
    made = [lab.derive(Mutate(sigma), root, labels={"aim": "maximize gain, minimize norm"}) for sigma in (0.1, 2.0)]
    for model in made:
        lab.measure(Norm(), model)
    least, most = sorted(made, key=lambda model: model.value("norm"))
    assert lab["best:norm"] == least == lab["best"] == lab["best:norm:min"]
    assert lab["best:norm:max"] == most
    other = lab.derive(Mutate(0.5), root, labels={"aim": "maximize norm"})
    assert lab["best:norm"] == least  # one that was not measured says nothing
    lab.measure(Norm(), other)
    assert lab["best:norm"] == most  # they disagree: the highest, as where nothing is said
    with pytest.raises(UnknownModel, match="the direction is max or min"):
        lab["best:norm:up"]
