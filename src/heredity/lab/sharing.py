"""One measurement for all models that behave alike: `lab.measure(probe, model, by=behaviour)`.

`by` is a probe too, of which equal values mean equal behaviour on its evidence (`heredity.search.probes.Behaviour`).
Nothing is recorded of a model that was not measured on it: the outcome is its representative's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heredity.evaluation.outcome import Failed
from heredity.lab import records
from heredity.lab.canonical import digest

if TYPE_CHECKING:
    from heredity.lab.lab import Lab
    from heredity.lab.model import Model
    from heredity.lab.operator import Probe


def representative(lab: Lab, probe: Probe, model: Model, by: Probe, seed: int) -> Model:
    """The oldest birth of the same behaviour on which the probe was measured; the model itself where there is none.

    A model that was measured stands for itself, and so does one whose behaviour could not be measured.
    """
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
