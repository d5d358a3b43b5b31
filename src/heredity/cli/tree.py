"""`heredity tree`: the surviving trunk of the lineage, from its roots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.labs import JsonOption, LabOption, MetricOption, choose_metric, model_of, open_lab

if TYPE_CHECKING:
    from rich.text import Text

    from heredity.cli.lineage import Facts
    from heredity.cli.trunk import Fold, Forest, Row, Trunk
    from heredity.lab import Lab

PANEL = "Look at a lineage"

_LONG = 200  # drawn births above which rows of births are folded even where some have several parents


def tree_command(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Draw every birth; fold nothing.")] = False,
    depth: Annotated[int | None, typer.Option(min=0, help="Generations to draw; deeper ones are folded.")] = None,
    root: Annotated[str | None, typer.Option(metavar="REF", help="Begin at this model.")] = None,
    ends: Annotated[int, typer.Option("-n", "--ends", min=1, help="How many ends of the trunk to draw.")] = 40,
    metric: MetricOption = None,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """The surviving trunk of the lineage.

    Ancestors of what lives, extinct clades folded. Drawn along primary parents; second parents are written as + ID.
    Where nothing has died, the trunk leads to the best, the named, the newest and the best leaves.

    JSON: {births, living, deaths_recorded, metric, best, roots, folded_roots, nodes}; a node is a birth as in log with
    parent, depth, living, value, folded {births, living, best}; parents come before children.

    Example: heredity tree --root ancestor --depth 5 --metric accuracy
    """
    from heredity.cli.trunk import grow_trunk, read_forest, tips

    with open_lab(lab_path) as lab:
        chosen = choose_metric(lab, metric)
        start = model_of(lab, root, metric).id if root is not None else None
        forest = read_forest(lab, chosen, start)
        trunk = grow_trunk(forest, () if everything else tips(forest, ends), depth=depth, everything=everything)
        if as_json:
            _print_json(lab, forest, trunk, chosen)
        else:
            _print(lab, forest, trunk, chosen, fold_runs=not everything)


def _print_json(lab: Lab, forest: Forest, trunk: Trunk, metric: str | None) -> None:
    from heredity.cli.console import print_json
    from heredity.cli.lineage import Facts

    shown = [place for place in forest.order if trunk.drawn[place]]
    facts = Facts.of(lab, [forest.ids[place] for place in shown])
    nodes = []
    for place in shown:
        birth, parent = forest.ids[place], forest.parents[place]
        node = facts.as_json(birth)
        node["parent"] = forest.ids[parent] if parent >= 0 else None
        node["depth"] = forest.depths[place]
        node["living"] = not forest.dead[place]
        node["value"] = forest.values[place]
        node["folded"] = _fold_json(trunk.folds.get(place))
        nodes.append(node)
    best = forest.best
    print_json(
        {
            "births": len(forest.order),
            "living": sum(not forest.dead[place] for place in forest.order),
            "deaths_recorded": forest.any_deaths,
            "metric": metric,
            "best": forest.ids[best] if best is not None else None,
            "roots": [forest.ids[place] for place in forest.roots],
            "folded_roots": {"roots": trunk.lost_roots, **(_fold_json(trunk.lost) or {"births": 0})},
            "nodes": nodes,
        }
    )


def _fold_json(fold: Fold | None) -> dict[str, Any] | None:
    return {"births": fold.births, "living": fold.living, "best": fold.best} if fold and fold.births else None


def _print(lab: Lab, forest: Forest, trunk: Trunk, metric: str | None, *, fold_runs: bool) -> None:
    from rich.text import Text

    from heredity.cli.console import Out, kind_text, plural, styled
    from heredity.cli.lineage import Facts
    from heredity.cli.trunk import lay_out

    out = Out()
    if not forest.order:
        out.line("no births yet")
        return
    mates = {row[0] for row in lab.index.query("SELECT DISTINCT child FROM edges WHERE place > 0")}
    plain = {place for place in trunk.branches if place not in forest.names and place != forest.best}
    if len(trunk.branches) <= _LONG:
        plain = {place for place in plain if forest.ids[place] not in mates}
    lines = lay_out(forest, trunk, plain=plain if fold_runs else None)
    facts = Facts.of(lab, [forest.ids[row.place] for row in lines])
    rows: list[list[Text | str]] = []
    for line in lines:
        if line.first and rows:
            rows.append([""] * 6)
        if line.run:
            rows.append(_run_cells(line, forest, trunk, mates))
            continue
        birth = forest.ids[line.place]
        graph = Text(line.stem, "dim").append_text(_mark(forest, line.place, birth in mates))
        rows.append(
            [
                graph,
                styled(facts.short(birth), "yellow"),
                kind_text(facts.records[birth]["kind"]),
                _what(facts, birth),
                _value(forest, line.place),
                _fold_text(trunk.folds.get(line.place), forest.any_deaths),
            ]
        )
    out.line(_header(lab, forest, metric, facts))
    out.rows(rows, right=[4], stretch=3)
    if trunk.lost_roots:
        out.line()
        text = f"… {plural(trunk.lost_roots, 'root')} without a drawn descendant: "
        out.line(styled(text, "dim") + _fold_text(trunk.lost, forest.any_deaths))


def _header(lab: Lab, forest: Forest, metric: str | None, facts: Facts) -> Text:
    from heredity.cli.console import joined, number, plural, styled

    parts: list[Text | str] = [styled(str(lab.path), "bold"), plural(len(forest.order), "birth")]
    if forest.any_deaths:
        living = sum(not forest.dead[place] for place in forest.order)
        parts.append(f"{living:,} living ● {len(forest.order) - living:,} dead ○")
    best = forest.best
    if best is not None:
        value = forest.values[best]
        assert value is not None
        parts.append(f"{metric}: best {number(value)} {facts.short(forest.ids[best])}")
    return joined(parts)


def _mark(forest: Forest, place: int, several: bool) -> Text:
    """◆ for several parents; hollow for the dead."""
    from heredity.cli.console import styled

    if place == forest.best:
        return styled("★", "bold bright_green")
    full, hollow = ("◆", "◇") if several else ("●", "○")
    return styled(hollow, "dim") if forest.dead[place] else styled(full, "bold green" if forest.any_deaths else "blue")


def _what(facts: Facts, birth: str) -> Text:
    from heredity.cli.console import joined, names_text

    return joined([names_text(facts.names.get(birth, ())), facts.description(birth)], " ")


def _value(forest: Forest, place: int) -> Text:
    from heredity.cli.console import number, styled

    value = forest.values[place]
    if value is None:
        return styled("")
    return styled(number(value), "bold bright_green" if place == forest.best else "")


def _fold_text(fold: Fold | None, any_deaths: bool) -> Text:
    """`… 37 extinct, best 0.71`; folded births that live are counted apart."""
    from heredity.cli.console import number, styled

    if fold is None or not fold.births:
        return styled("")
    extinct = fold.births - fold.living
    counted = [f"{extinct:,} extinct"] if extinct else []
    if fold.living:
        counted.append(f"{fold.living:,} {'living' if any_deaths else 'more'}")
    best = f", best {number(fold.best)}" if fold.best is not None else ""
    return styled(f"… {' + '.join(counted)}{best}", "dim")


def _run_cells(line: Row, forest: Forest, trunk: Trunk, mates: set[str]) -> list[Text | str]:
    from rich.text import Text

    from heredity.cli.console import number, plural, styled
    from heredity.cli.trunk import Fold

    values = [value for place in line.run if (value := forest.values[place]) is not None]
    gain = f"  {number(values[0])} → {number(values[-1])}" if values else ""
    merged = sum(forest.ids[place] in mates for place in line.run)
    several = f", {merged:,} with several parents" if merged else ""
    beside = Fold()
    for place in line.run:
        beside.add(trunk.folds.get(place, Fold()), low=forest.low)
    text = styled(f"{plural(len(line.run), 'birth')} in a row{several}{gain}", "dim")
    return [Text(f"{line.stem}⋮", "dim"), "", "", text, "", _fold_text(beside, forest.any_deaths)]
