"""Rebuilding dropped weights by running their births again, checked against the recorded hashes."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from heredity.errors import DamagedRecord, HeredityError, RebuildMismatch, WeightsMissing
from heredity.lab.architecture import base_of, is_adapter
from heredity.lab.blobs import nbytes
from heredity.lab.canonical import revive, source_hash, trust_for
from heredity.lab.environment import machine
from heredity.lab.model import Model
from heredity.lab.operator import Operator
from heredity.lab.steps import IMPORT, STEP

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.lab.lab import Lab


IN_MEMORY = 1 << 28  # bytes up to which weights rebuilt on the way stay in memory; larger ones go to disk meanwhile


def rebuild(lab: Lab, model: Model, *, store: bool) -> Mapping[str, Tensor]:
    """The weights of a model whose blob is gone; see `Lab.rebuild`.

    Births are run from the oldest missing ancestor on. Weights rebuilt on the way are given up as soon as nothing
    needs them.

    Raises:
        WeightsMissing: a birth on the way cannot be run again.
        RebuildMismatch: a birth gave other weights than recorded.
        DamagedRecord: a birth is recorded as its own ancestor.
    """
    order = missing_ancestors(lab, model)
    uses: Counter[str] = Counter()  # how many births still to run need these weights
    for ancestor in order:
        uses.update(needed.weights_sha256 for needed in needed_by(ancestor))
    passing = {ancestor.weights_sha256 for ancestor in order} - {model.weights_sha256}
    on_disk: set[str] = set()
    try:
        for ancestor in order:
            last = ancestor.id == model.id
            _run_again(lab, ancestor)
            sha = ancestor.weights_sha256
            weights = lab.blobs.load(sha)
            if last and store and lab.writable:
                lab.blobs.save(weights, sha, replace=True)
            elif not last and nbytes(weights) > IN_MEMORY and lab.writable:
                lab.blobs.save(weights, sha)
                on_disk.add(sha)
                lab.blobs.forget(sha)
            elif not last:
                lab.blobs.pin(sha, weights)
            for needed in needed_by(ancestor):
                gone = needed.weights_sha256
                uses[gone] -= 1
                if gone in passing and uses[gone] <= 0:
                    _give_up(lab, gone, on_disk)
    finally:
        for sha in passing:
            _give_up(lab, sha, on_disk)
    return lab.blobs.load(model.weights_sha256)


def _give_up(lab: Lab, sha: str, on_disk: set[str]) -> None:
    lab.blobs.forget(sha)
    if sha in on_disk:
        on_disk.discard(sha)
        lab.blobs.drop(sha)


def needed_by(model: Model) -> list[Model]:
    """The models whose weights a birth reads: its parents, and what adapters among them sit on."""
    bases = [base for parent in model.parents if is_adapter(parent) and (base := base_of(parent)) is not None]
    return list({parent.id: parent for parent in [*model.parents, *bases]}.values())


def missing_ancestors(lab: Lab, model: Model) -> list[Model]:
    """The model and those ancestors that must be rebuilt before it, parents first.

    Raises:
        DamagedRecord: a birth is recorded as its own ancestor.
    """
    order: list[Model] = []
    state: dict[str, bool] = {}  # False while its ancestors are looked at, True when it has its place
    stack = [model]
    while stack:
        current = stack[-1]
        if current.id in state:
            stack.pop()
            if not state[current.id]:
                state[current.id] = True
                order.append(current)
            continue
        state[current.id] = False
        for parent in needed_by(current):
            if state.get(parent.id) is False:
                raise DamagedRecord(f"{current.id} and its parent {parent.id} are recorded as ancestors of each other")
            if parent.id not in state and not lab.blobs.at_hand(parent.weights_sha256):
                stack.append(parent)
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
    fingerprint = {"fingerprint": form["fingerprint"]} if "fingerprint" in form else {}
    try:
        operator = revive({"$type": form["type"], "fields": form["config"], **fingerprint}, lab.evidence.load)
    except FileNotFoundError as error:
        raise WeightsMissing(f"{model.id} cannot be rebuilt: its evidence is not stored ({error})") from error
    except HeredityError as error:
        raise WeightsMissing(f"{model.id} cannot be rebuilt: {error}") from error
    if not isinstance(operator, Operator):
        raise WeightsMissing(f"{model.id} cannot be rebuilt: {form['type']} is no operator")
    return operator


def obstacle(lab: Lab, model: Model) -> str | None:
    """Why a birth could not be run again here to the same bits, given its parents' weights; None when it could.

    Cautious, because blobs are deleted on its word: other source of the operator or another torch, NumPy or kind of CPU
    counts, although the bits may well be the same.
    """
    record = model.record
    if not record.get("deterministic", True):
        return "it did not come from a deterministic operator"
    if "<" in model.operator["type"]:
        return "its operator is defined inside a function, where no other process finds it"
    try:
        operator = revive_operator(lab, model)
    except WeightsMissing as error:
        return str(error)
    if operator.version != model.operator["version"]:
        return "its operator's version has changed"
    if record.get("source") != source_hash(type(operator)):
        return "its operator's source has changed"
    then = lab.index.spec(record["environment"])
    if then is None:
        return "the record of its environment is missing"
    now = machine()
    if any(then["versions"].get(name) != now["versions"].get(name) for name in ("torch", "numpy")):
        return "it was made with another torch or NumPy"
    if then["cpu"] != {**now["cpu"], "cores": then["cpu"].get("cores")}:
        return "it was made on another kind of CPU"
    return None


def _run_again(lab: Lab, model: Model) -> None:
    from heredity.lab.dispatch import remove_scratch, spec_of
    from heredity.lab.runner import Task, run_task

    operator = revive_operator(lab, model)
    with contextlib.ExitStack() as stack:
        if lab.writable:
            scratch = lab.root / "scratch"
        else:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heredity-")))
        task = Task(
            root=lab.root,
            scratch=scratch,
            id=model.id,
            key=model.key,
            operator=operator,
            parents=tuple(spec_of(parent) for parent in model.parents),
            roles=tuple(role for role, _ in model.edges),
            seed=model.seed,
            threads=model.record["threads"],
            trust=trust_for(),
            source=source_hash(type(operator)),
            keep=False,
        )
        result = run_task(task, lab.blobs)
        remove_scratch(scratch / model.id)
    assert result.birth is not None
    sha = result.birth["weights"]
    if sha != model.weights_sha256:
        lab.blobs.forget(sha)
        raise RebuildMismatch(
            f"rebuilding {model.id} gave the weights {sha[:12]}, recorded are {model.weights_sha256[:12]}; "
            f"{_differences(lab, model, operator)}"
        )


def _differences(lab: Lab, model: Model, operator: Operator) -> str:
    """What differs between the recorded conditions and these."""
    then, now = lab.index.spec(model.record["environment"]), machine()
    if then is None:
        return "under which conditions it was made is in no journal"
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
