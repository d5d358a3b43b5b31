"""Merge methods from their rows, and mergekit's methods from the rules that read them."""

from __future__ import annotations

import dataclasses
import importlib
import re

from builder.markdown import table
from heredity.merging.mergekit_methods import RULES
from heredity.merging.methods import TensorMethod, rows

_SOURCE = re.compile(r"^Sources?: (.*?)(?:\n\n|\Z)", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"(?:arXiv )?(\d{4}\.\d{5}) \(([^)]*)\)")


def method_names() -> list[str]:
    """All rows."""
    return sorted(rows())


def section_merge_methods() -> str:
    """One line per row."""
    lines = []
    for name, row in sorted(rows().items()):
        base = "needed" if row.needs_base else "optional" if row.takes_base else "no"
        numbers = ", ".join(f"`{field}`" for field in _numbers(row)) or "none"
        lines.append([f"`{name}`", base, _models(row), numbers, _settings(row), _source(name, row)])
    return table(("method", "base", "models", "numbers", "settings of the row", "source"), lines)


def _numbers(row: TensorMethod) -> list[str]:
    """The numbers that mean something to a row: those of the mask depend on which mask it has."""
    if not hasattr(row, "sparsify"):
        return list(row.takes)
    idle = {"magnitude_outliers": {"epsilon"}, "della_magprune": {"gamma"}, None: {"density", "gamma", "epsilon"}}
    return [field for field in row.takes if field not in idle.get(row.sparsify, {"gamma", "epsilon"})]


def _models(row: TensorMethod) -> str:
    if row.max_models is None:
        return f"{row.min_models} or more"
    return str(row.max_models) if row.max_models == row.min_models else f"{row.min_models} to {row.max_models}"


def _settings(row: TensorMethod) -> str:
    """Fields that are no defaults of numbers per model."""
    fields = [field for field in dataclasses.fields(row) if field.name not in row.takes]
    return ", ".join(f"`{field.name}={_value(getattr(row, field.name))}`" for field in fields) or "none"


def _value(value: object) -> str:
    return str(value)


def _source(name: str, row: TensorMethod) -> str:
    """Of the sources that the row's module names, those whose label is part of the row's name; all where none is."""
    doc = importlib.import_module(type(row).__module__).__doc__ or ""
    found = _SOURCE.search(doc)
    if found is None:
        raise ValueError(f"the module of {name} names no source")
    text = " ".join(found[1].split())
    labelled = [
        f"[arXiv {number}](https://arxiv.org/abs/{number})"
        for number, label in _NAMED.findall(text)
        if label.lower().replace(" ", "_") in name
    ]
    if labelled:
        return ", ".join(labelled)
    text = text.split(". ")[0].rstrip(".")
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def section_mergekit_methods() -> str:
    """mergekit's names, and the parameters that are read."""
    base = {"origin": "needed", "optional": "optional", "first": "needed, one of the two", "none": "not used"}
    lines = [
        [
            f"`{rule.name}`",
            base[rule.base],
            ", ".join(f"`{key}`" + ("" if default is None else f" ({default:g})") for key, default in rule.per_model),
            ", ".join(f"`{key}`" for key in rule.whole),
        ]
        for rule in RULES.values()
    ]
    return table(("merge_method", "base_model", "per model (default)", "per tensor"), lines)
