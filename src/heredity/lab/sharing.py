"""One measurement for all models that behave alike: `lab.measure(probe, model, by="behaviour")`.

`by` is a probe too, of which equal values mean equal behaviour on its evidence (`heredity.search.probes.Behaviour`);
the word "behaviour" stands for that one on the measuring probe's own inputs.
Nothing is recorded of a model that was not measured on it: the outcome is its representative's.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from heredity.evaluation.outcome import Failed
from heredity.lab import records
from heredity.lab.canonical import digest

if TYPE_CHECKING:
    from heredity.lab.lab import Lab
    from heredity.lab.model import Model
    from heredity.lab.operator import Probe


def behaviour_of(probe: Probe) -> Probe:
    """What makes models alike for a probe: the hash of their outputs on its inputs.

    Raises:
        ValueError: the probe does not say its inputs.
    """
    inputs = getattr(probe, "inputs", None)
    if not hasattr(inputs, "untyped_storage"):  # no tensor; the lab does not import torch to ask
        raise ValueError(
            f"{type(probe).__name__} does not say on which inputs models are alike; "
            "pass by=heredity.search.probes.Behaviour(inputs), or give the probe a field or property `inputs`"
        )
    # Named, not imported: the lab lies below the search room.
    return cast("Probe", importlib.import_module("heredity.search.probes").Behaviour(inputs))


def representative(lab: Lab, probe: Probe, model: Model, by: Probe | str, seed: int) -> Model:
    """The oldest birth of the same behaviour on which the probe was measured; the model itself where there is none.

    A model that was measured stands for itself, and so does one whose behaviour could not be measured.
    """
    if isinstance(by, str):
        if by != "behaviour":
            raise ValueError(f'by must be "behaviour" or a probe, got {by!r}')
        by = behaviour_of(probe)
    forms = [digest(lab.form(item)) for item in (probe, by)]

    def known(birth: str, place: int) -> dict[str, object] | None:
        record = lab.index.measurement(lab.evaluation_key(forms[place], birth, seed if place == 0 else 0))
        return None if record is None or record.get("crashed") else record

    if known(model.id, 0) is not None:
        return model
    mark = lab.measure(by, model)
    if isinstance(mark, Failed):
        return model
    metric, value = next(iter(mark.values.items()))
    rows = lab.index.query(
        "SELECT b.id FROM metrics m JOIN births b ON b.id = m.id WHERE m.metric = ? AND m.value = ? "
        "ORDER BY b.time, b.id",
        (metric, value),
    )
    for (birth,) in rows:
        behaviour = known(birth, 1)
        if behaviour is not None and records.outcome_in(behaviour) == mark and known(birth, 0) is not None:
            return lab[birth]
    return model
