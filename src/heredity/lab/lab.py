"""The lab: a folder that remembers, and an executor. `child = lab.derive(operator, *parents, seed=0)`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from heredity.errors import BirthFailed, LabError, OperatorChanged, ReadOnlyLab, UnknownModel
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import records, refs
from heredity.lab.blobs import BlobStore, EvidenceStore
from heredity.lab.canonical import canonical, dataclass_form, digest, source_hash
from heredity.lab.dispatch import Dispatch
from heredity.lab.executors import Executor, executor_for
from heredity.lab.index import Index
from heredity.lab.interchange.mlflow import observe
from heredity.lab.journal import JournalWriter
from heredity.lab.lease import LeaseBook
from heredity.lab.maintenance import GcReport, Problem, collect, find_problems
from heredity.lab.model import Model
from heredity.lab.operator import Operator, Probe, Request
from heredity.lab.rebuild import rebuild
from heredity.lab.sharing import representative
from heredity.lab.steps import Step, add_model

if TYPE_CHECKING:
    from torch import Tensor, nn

    from heredity.lab.architecture import Architecture

Ref: TypeAlias = Model | str
Asked: TypeAlias = Request | tuple[Any, ...]


class Lab:
    """A folder that remembers births and measurements, and runs new ones.

    Args:
        path: the folder; made when it does not exist.
        executor: where births run: "inline", "processes", "processes:N", "ray", "ray:ADDRESS", or an `Executor`.
        mode: "a" opens or makes; "r+" opens an existing lab; "r" opens it for reading only.
        threads: compute threads of every birth; part of what makes results repeatable, and recorded.
        lease_expiry: seconds after which a birth whose owner shows no sign of life may be taken over.

    Raises:
        LabError: the folder is no lab, or there is none to open.
        NewerFormat: it was written by a newer version.
    """

    def __init__(
        self,
        path: str | Path = "lab",
        executor: str | Executor = "inline",
        *,
        mode: str = "a",
        threads: int = 1,
        lease_expiry: float = 60.0,
    ) -> None:
        self.path = Path(path)
        self.root = self.path.resolve()  # what workers are told; the caller may change its directory
        self.threads = threads
        self.writable = mode != "r"
        self._prepare_folder(mode)
        self.blobs = BlobStore(self.root)
        self.evidence = EvidenceStore(self.root, writable=self.writable)
        self.leases = LeaseBook(self.root / "leases", lease_expiry)
        self.index = Index(self.root)
        self._writer = JournalWriter(self.root / "births")
        self._choice = executor
        self._executors: dict[str, Executor] = {}
        self._warned: set[str] = set()

    def _prepare_folder(self, mode: str) -> None:
        births = self.path / "births"
        if mode not in ("a", "r+", "r"):
            raise LabError(f"lab mode {mode!r}: use 'a' (open or make), 'r+' (open) or 'r' (read only)")
        if births.is_dir():
            return
        if mode != "a":
            raise LabError(f"there is no lab at {self.path}; heredity.Lab({str(self.path)!r}) makes one")
        try:
            hidden = self.path.is_dir() and all(item.name.startswith(".") for item in self.path.iterdir())
            if self.path.exists() and not hidden:
                # another process may be making it at this moment
                if births.is_dir():
                    return
                raise LabError(f"{self.path} exists and is no lab; choose an empty or new folder")
            births.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReadOnlyLab(f"cannot make a lab at {self.path}: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"Lab({str(self.path)!r}, {len(self)} births)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back workers, leases and files; everything recorded stays."""
        for executor in self._executors.values():
            executor.close()
        self._executors.clear()
        self.leases.close()
        self._writer.close()
        self.index.close()

    # Finding models

    def __len__(self) -> int:
        return self.index.query("SELECT count(*) FROM births")[0][0]

    def __getitem__(self, reference: Ref) -> Model:
        """The model a reference means: an id or prefix, a name, best, best:METRIC, latest, or any of these with ~N."""
        if isinstance(reference, Model):
            return reference
        record = self.index.birth(reference)
        if record is None:
            self.index.refresh()
            birth = refs.resolve(self.index, reference)
            record = self.index.birth(birth)
            if record is None:
                raise UnknownModel(f"{reference!r} means {birth}, which is in no journal; was a journal not copied?")
        return self.handle(record)

    def __contains__(self, reference: object) -> bool:
        birth = reference.id if isinstance(reference, Model) else str(reference)
        return self.index.line(birth) is not None

    def models(self) -> Iterator[Model]:
        """All models in the order of their births."""
        self.index.refresh()
        return map(self.handle, self.index.births())

    def handle(self, record: Mapping[str, Any]) -> Model:
        """The handle on a birth of which the record is at hand."""
        return Model(record, self.blobs, self)

    def names_of(self, model: Model) -> list[str]:
        """Names that point to a model now."""
        return records.names_of(self, model)

    def spec(self, spec: str) -> dict[str, Any]:
        """An architecture or environment by its id.

        Raises:
            LabError: the journal that held it is missing.
        """
        record = self.index.spec(spec)
        if record is None:
            raise LabError(f"the lab has no record {spec!r}; a journal that was copied in part? heredity verify tells")
        return record

    # Births

    def add(
        self,
        model: nn.Module | Mapping[str, Tensor] | str | Path,
        *,
        name: str | None = None,
        architecture: Architecture | None = None,
        labels: Mapping[str, Any] | None = None,
        note: str = "",
        **roles: Ref,
    ) -> Model:
        """Record a model from outside: a module, a state dict, a Hugging Face or adapter folder, a safetensors file.

        Adding the same weights again returns the same birth.

        Raises:
            NonFinite: it holds NaN or infinity.
            LabError: the folder or file cannot be read as a model.
        """
        return add_model(self, model, name=name, architecture=architecture, labels=labels or {}, note=note, roles=roles)

    def derive(
        self,
        operator: Operator,
        *parents: Ref,
        seed: int = 0,
        name: str | None = None,
        labels: Mapping[str, Any] | None = None,
        keep: bool = True,
        **roles: Ref,
    ) -> Model:
        """The child of an operator and parents: run once, recalled ever after.

        Args:
            operator: a frozen dataclass.
            parents: the primary one first.
            seed: another seed is another child.
            name: a name for the child.
            labels: facts outside the child's identity.
            keep: False records the child without storing its weights; they are rebuilt when asked for.
            roles: further parents by role, e.g. base=ancestor.

        Raises:
            BirthFailed: the operator raised, or the child's weights are not finite.
            ReadOnlyLab: the birth is not recorded and the lab cannot be written.
        """
        request = Request(operator, parents, roles, seed, labels or {}, keep, name)
        return self.derive_all([request])[0]

    def derive_all(
        self,
        requests: Iterable[Asked],
        *,
        measure: Probe | Sequence[Probe] = (),
        executor: str | Executor | None = None,
    ) -> list[Model]:
        """Several births, as many at once as the executor can run; children in the order of the requests.

        Args:
            requests: `Request`s, or tuples (operator, *parents).
            measure: probes to run on each child, in the same worker.
            executor: another one than the lab's, for this call.

        Raises:
            BirthFailed: some births failed; the others are recorded, and asking again runs only the failed ones.
        """
        asked = [request if isinstance(request, Request) else Request(request[0], request[1:]) for request in requests]
        born: dict[int, Model] = {}
        failures: list[Exception] = []
        for index, result in self.as_completed(asked, measure=measure, executor=executor):
            if isinstance(result, Model):
                born[index] = result
            else:
                failures.append(result)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise BirthFailed(
                f"{len(failures)} of {len(asked)} births failed, the others are recorded; first: {failures[0]}"
            ) from failures[0]
        return [born[index] for index in range(len(asked))]

    def as_completed(
        self,
        requests: Iterable[Asked],
        *,
        measure: Probe | Sequence[Probe] = (),
        executor: str | Executor | None = None,
    ) -> Iterator[tuple[int, Model | Exception]]:
        """Like `derive_all`, but yields (position, child or error) as births end, recalled ones first."""
        asked = [request if isinstance(request, Request) else Request(request[0], request[1:]) for request in requests]
        probes = (measure,) if isinstance(measure, Probe) else tuple(measure)
        dispatch = Dispatch(self, probes)
        return dispatch.run(dispatch.births(asked), executor)

    def step(
        self,
        name: str,
        *,
        parents: Sequence[Ref] = (),
        config: Mapping[str, Any] | None = None,
        kind: str = "train",
        seed: int = 0,
    ) -> Step:
        """Record what a plain script does.

        Example: `with lab.step("finetune", parents=[a]) as step: …; child = step.commit(model)`
        """
        return Step(self, name, [self[parent] for parent in parents], config=config or {}, kind=kind, seed=seed)

    # Measurements

    def measure(self, probe: Probe, model: Ref, *, seed: int = 0, by: Probe | str | None = None) -> Ok | Failed:
        """Run a probe: once, recalled ever after; one that raised is tried again. `by`: see `heredity.lab.sharing`."""
        measured = self[model] if by is None else representative(self, probe, self[model], by, seed)
        return self.measure_all(probe, [measured], seed=seed)[0]

    def measure_all(
        self, probe: Probe, models: Iterable[Ref], *, seed: int = 0, executor: str | Executor | None = None
    ) -> list[Ok | Failed]:
        """A probe on several models, as many at once as the executor can run."""
        handles = [self[model] for model in models]
        dispatch = Dispatch(self, (probe,), seed)
        for _, result in dispatch.run(dispatch.evaluations(handles), executor):
            if isinstance(result, Exception):
                raise result
        return [self.outcome(probe, model, seed=seed) for model in handles]

    def outcome(self, probe: Probe, model: Model, *, seed: int = 0) -> Ok | Failed:
        """The recorded outcome of a probe on a model.

        Raises:
            LabError: it was not measured.
        """
        record = self.index.measurement(self.evaluation_key(self.form(probe), model.id, seed))
        if record is None:
            raise LabError(f"{type(probe).__name__} was not measured on {model.id}")
        return records.outcome_in(record)

    # Later events

    def name(self, model: Ref, name: str) -> None:
        """Let a name point to a model; a name can be moved.

        Raises:
            LabError: the name could be taken for an id or a reference.
        """
        self.check_name(name)
        self.append({"t": "name", "id": self[model].id, "name": name})

    def check_name(self, name: str) -> None:
        """Raise `LabError` for a name that could be taken for an id or a reference."""
        taken = name in ("best", "latest") or any(mark in name for mark in "~:") or name != name.strip() or not name
        if taken or (len(name) > 1 and all(letter in "0123456789abcdef" for letter in name)):  # a prefix has two
            raise LabError(f"{name!r} cannot be a name: it would be read as a reference; use letters, digits, - and _")

    def note(self, model: Ref, text: str) -> None:
        """Attach a note to a model."""
        self.append({"t": "note", "id": self[model].id, "text": text})

    def tag(self, model: Ref, *tags: str) -> None:
        """Attach tags to a model."""
        if tags:
            self.append({"t": "tag", "id": self[model].id, "tags": list(tags)})

    def die(self, models: Iterable[Ref], reason: str = "") -> None:
        """Record that a population no longer holds these models. Their lineage stays."""
        ids = [self[model].id for model in models]
        if ids:
            self.append({"t": "death", "ids": ids, "reason": reason})

    def dead(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids whose death is recorded."""
        return [i for i in ids if self.index.query("SELECT 1 FROM deaths WHERE id = ?", (i,))]

    def drop(self, models: Iterable[Ref]) -> int:
        """Delete stored weights that can be rebuilt; returns the bytes freed. The births stay."""
        return collect(self, only=[self[model] for model in models]).freed

    def gc(self, keep: Iterable[Ref] = (), *, dry_run: bool = False) -> GcReport:
        """Drop every blob that can be rebuilt, but those of `keep`, named models, and what running births need."""
        return collect(self, keep=[self[model] for model in keep], dry_run=dry_run)

    def verify(self, *, contents: bool = True) -> list[Problem]:
        """Everything that is damaged, by name; `contents=False` skips re-reading journals and re-hashing blobs."""
        return find_problems(self, contents=contents)

    def rebuild(self, model: Ref, *, store: bool = True) -> Mapping[str, Tensor]:
        """Run a model's birth again and check the result against the recorded hash."""
        return rebuild(self, self[model], store=store)

    # What dispatch, rebuild and maintenance build on

    def form(self, recorded: Operator | Probe) -> dict[str, Any]:
        """An operator or probe as the record holds it: import path, declared version, canonical configuration."""
        form = dataclass_form(recorded, type(recorded).__name__, self.evidence.save)
        named = {"type": form["$type"], "version": recorded.version, "config": form["fields"]}
        return {**named, "fingerprint": form["fingerprint"]} if "fingerprint" in form else named

    def birth_key(self, form: Mapping[str, Any], edges: Sequence[tuple[str, Model]], seed: int) -> str:
        """The identity of a birth: operator, version, parents in order with roles, evidence, seed."""
        parents = [[role, parent.id] for role, parent in edges]
        return digest({"operator": dict(form), "parents": parents, "seed": canonical(seed, "seed")})

    def evaluation_key(self, form: Mapping[str, Any] | str, model: str, seed: int) -> str:
        """The identity of an evaluation; a probe's form may be given by its digest."""
        probe = form if isinstance(form, str) else digest(dict(form))
        return digest({"probe": probe, "model": model, "seed": canonical(seed, "seed")})

    def append(self, *lines: Mapping[str, Any]) -> None:
        """Write records to this process's journal; raises `ReadOnlyLab` where it cannot be written."""
        if not self.writable:
            raise ReadOnlyLab(f"the lab at {self.path} is open for reading only; nothing was recorded")
        now = time.time()
        start, written = self._writer.append(*({"time": now, **line} for line in lines))
        self.index.add_own(self._writer.path.name, start, written)
        observe(self.root, written)

    def executor(self, choice: str | Executor | None = None) -> Executor:
        """The executor to use; those made here live as long as the lab, so that workers start once."""
        choice = self._choice if choice is None else choice
        if isinstance(choice, Executor):
            return choice
        if choice not in self._executors:
            self._executors[choice] = executor_for(choice, self.blobs)
        return self._executors[choice]

    def warn_if_changed(self, operator: Operator, record: Mapping[str, Any]) -> None:
        """Warn once per operator when a recalled birth was made by other source of it."""
        current, recorded = source_hash(type(operator)), record.get("source")
        path = record["operator"]["type"]
        if current and recorded and current != recorded and path not in self._warned:
            self._warned.add(path)
            warnings.warn(
                f"birth {record['id']} was made by other source of {type(operator).__name__} and is recalled as it is; "
                "if the change alters results, raise the operator's version",
                OperatorChanged,
                stacklevel=3,
            )
