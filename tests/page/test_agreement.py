"""The page and `heredity tree` say the same of a lab: the golden rule that neither may drift from."""

from __future__ import annotations

from typing import Any

import pytest

from heredity.cli.labs import choose_metric
from heredity.cli.trunk import grow_trunk, read_forest, tips
from heredity.lab import Lab
from heredity.page.report import write_report


def by_python(lab: Lab, ends: int, *, everything: bool = False) -> dict[str, Any]:
    """What `heredity tree` draws, in the words of the page."""
    metric = choose_metric(lab, None)
    forest = read_forest(lab, metric)
    trunk = grow_trunk(forest, () if everything else tips(forest, ends), everything=everything)
    folds = {
        forest.ids[place]: {"births": fold.births, "living": fold.living, "best": fold.best}
        for place, fold in trunk.folds.items()
    }
    drawn = {forest.ids[place]: forest.depths[place] for place in forest.order if trunk.drawn[place]}
    return {
        "births": len(forest.order),
        "living": sum(not dead for dead in forest.dead),
        "metric": metric,
        "best": forest.ids[forest.best] if forest.best is not None else None,
        "roots": {forest.ids[place] for place in forest.roots},
        "drawn": drawn,
        "folds": folds,
        "lost": (trunk.lost_roots, trunk.lost.births, trunk.lost.living, trunk.lost.best),
    }


def by_page(facts: dict[str, Any]) -> dict[str, Any]:
    """The page's own facts in the same words."""
    lost = facts["lost"]
    folded = {node["id"]: node["folded"] for node in facts["drawn"] if node["folded"]}
    return {
        **{name: facts[name] for name in ("births", "living", "metric", "best")},
        "roots": set(facts["roots"]),
        "drawn": {node["id"]: node["depth"] for node in facts["drawn"]},
        "folds": {birth: {"best": None, **fold} for birth, fold in folded.items()},
        "lost": (lost["roots"], lost["births"], lost["living"], lost.get("best")),
    }


@pytest.mark.parametrize("ends", [1, 7, 100])
@pytest.mark.parametrize("deaths", [True, False])
def test_page_and_terminal_draw_the_same_trunk(look: Any, journal: Any, tmp_path: Any, ends: int, deaths: bool) -> None:
    journal.evolve(400, deaths=deaths, digits=2)  # of equal births the same one must come first
    named, unmeasured = journal.birth(33, [])["id"], journal.birth(1000, [3])
    journal.write({"t": "name", "id": named, "name": "keepsake"}, unmeasured)
    journal.write(journal.birth(1001, [5]), journal.birth(1002, [6]))
    journal.write(journal.value(1002, fitness=50.0), journal.value(1001, fitness=50.0))  # the first born is the best
    with Lab(journal.lab, mode="r") as lab:
        write_report(lab, tmp_path / "report.html")
        wanted = by_python(lab, ends)
    assert wanted["folds"]  # else there would be little to agree on
    with look(f"{(tmp_path / 'report.html').as_uri()}#ends={ends}") as sight:
        assert by_page(sight.facts()) == wanted


def test_page_and_terminal_agree_on_everything(look: Any, journal: Any, tmp_path: Any) -> None:
    journal.evolve(150)
    with Lab(journal.lab, mode="r") as lab:
        write_report(lab, tmp_path / "report.html")
        wanted = by_python(lab, 1, everything=True)
    with look(f"{(tmp_path / 'report.html').as_uri()}#all=1") as sight:
        assert by_page(sight.facts()) == wanted
        assert wanted["folds"] == {}
