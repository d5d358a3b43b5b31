"""Rebuilding dropped weights by running their births again, checked against the recorded hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from heredity.errors import HeredityError, RebuildMismatch, WeightsMissing
from heredity.lab.canonical import import_item, revive, source_hash
from heredity.lab.environment import environment
from heredity.lab.model import Model
from heredity.lab.operator import Operator
from heredity.lab.steps import IMPORT, STEP

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.lab.lab import Lab


def rebuild(lab: Lab, model: Model, *, store: bool) -> Mapping[str, Tensor]:
    """The weights of a model whose blob is gone; see `Lab.rebuild`.

    Births are run from the oldest missing ancestor on. Weights rebuilt on the way are dropped again at the end.

    Raises:
        WeightsMissing: a birth on the way cannot be run again.
        RebuildMismatch: a birth gave other weights than recorded.
    """
    order = missing_ancestors(lab, model)
    passing = [ancestor for ancestor in order if ancestor.id != model.id and lab.writable]
    try:
        for ancestor in order:
            _run_again(lab, ancestor, store=(store or ancestor.id != model.id) and lab.writable)
    finally:
        for ancestor in passing:
            lab.blobs.drop(ancestor.weights_sha256)
    return lab.blobs.load(model.weights_sha256)


def missing_ancestors(lab: Lab, model: Model) -> list[Model]:
    """The model and those ancestors that must be rebuilt before it, parents first."""
    order: list[Model] = []
    seen: set[str] = set()
    stack: list[tuple[Model, bool]] = [(model, False)]
    while stack:
        current, expanded = stack.pop()
        if expanded:
            order.append(current)
        elif current.id not in seen and (current is model or not lab.blobs.has(current.weights_sha256)):
            seen.add(current.id)
            stack.append((current, True))
            stack.extend((parent, False) for parent in current.parents)
    return order


def revive_operator(lab: Lab, model: Model) -> Operator:
    """The operator of a birth, from its record.

    Raises:
        WeightsMissing: the birth came from outside, or its operator or evidence is not available here.
    """
    form = model.operator
    if form["type"] in (IMPORT, STEP):
        how = "was added from outside" if form["type"] == IMPORT else "was made by a script's step"
        raise WeightsMissing(
            f"the weights of {model.id} are missing and it {how}, so it cannot be rebuilt; restore its blob"
        )
    try:
        operator = revive({"$type": form["type"], "fields": form["config"]}, lab.evidence.load)
    except FileNotFoundError as error:
        raise WeightsMissing(f"{model.id} cannot be rebuilt: the evidence {error.args[0]} is not stored") from error
    except HeredityError as error:
        raise WeightsMissing(f"{model.id} cannot be rebuilt: {error}") from error
    if not isinstance(operator, Operator):
        raise WeightsMissing(f"{model.id} cannot be rebuilt: {form['type']} is no operator")
    return operator


def can_rebuild(lab: Lab, model: Model) -> bool:
    """Whether a birth could be run again here, given its parents' weights."""
    if not model.record.get("deterministic", True):
        return False
    try:
        item = import_item(model.operator["type"])
    except HeredityError:
        return False
    evidence = _tensors(model.operator["config"])
    return isinstance(item, type) and issubclass(item, Operator) and all(map(lab.evidence.blobs.has, evidence))


def _tensors(form: Any) -> Iterable[str]:
    if isinstance(form, list):
        for item in form:
            yield from _tensors(item)
    elif isinstance(form, dict):
        for key, item in form.items():
            if key in ("$tensor", "$array"):
                yield item
            else:
                yield from _tensors(item)


def _run_again(lab: Lab, model: Model, *, store: bool) -> None:
    from heredity.lab.dispatch import Dispatch
    from heredity.lab.runner import Task, run_task

    operator = revive_operator(lab, model)
    specs = Dispatch(lab, ())
    task = Task(
        root=lab.path.resolve(),
        id=model.id,
        key=model.key,
        operator=operator,
        parents=tuple(specs.spec(parent) for parent in model.parents),
        roles=tuple(role for role, _ in model.edges),
        seed=model.seed,
        threads=model.record["threads"],
        keep=False,
    )
    result = run_task(task, lab.blobs)
    assert result.birth is not None
    sha = result.birth["weights"]
    if sha != model.weights_sha256:
        lab.blobs.forget(sha)
        raise RebuildMismatch(
            f"rebuilding {model.id} gave the weights {sha[:12]}, recorded are {model.weights_sha256[:12]}; "
            f"{_differences(lab, model, operator)}"
        )
    if store:
        lab.blobs.save(lab.blobs.load(sha), sha)


def _differences(lab: Lab, model: Model, operator: Operator) -> str:
    """What differs between the recorded conditions and these."""
    then, now = lab.spec(model.record["environment"]), environment()
    found = []
    if model.record.get("source") != source_hash(type(operator)):
        found.append(f"the source of {type(operator).__name__} has changed")
    if model.operator["version"] != operator.version:
        found.append(f"its version was {model.operator['version']}, is {operator.version}")
    for name in sorted({*then["versions"], *now["versions"]}):
        old, new = then["versions"].get(name), now["versions"].get(name)
        if old != new:
            found.append(f"{name} was {old}, is {new}")
    found += [
        f"the CPU {what} was {then['cpu'].get(what)}, is {now['cpu'].get(what)}"
        for what in ("model", "capability")
        if then["cpu"].get(what) != now["cpu"].get(what)
    ]
    if then["python"] != now["python"]:
        found.append(f"Python was {then['python']}, is {now['python']}")
    return "; ".join(found) or "nothing recorded differs, so the operator is not deterministic (declare it so)"
