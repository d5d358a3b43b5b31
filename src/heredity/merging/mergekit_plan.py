"""From a mergekit configuration and opened models to one job per tensor of the output.

mergekit's rules: a parameter is looked up at its source, then its slice, module and document; a gradient runs from 0
at the first to 1 at the last layer of a slice, and tensors outside the layers stand at 0; what comes before the layers
is merged like the first slice, what comes after them like the last.
Source: mergekit 0.1 (README, "Merge Configuration"; docs, "Merge Methods").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import MergeError, RecipeError
from heredity.merging.checkpoint import Checkpoint
from heredity.merging.dtype_names import is_floating, item_size, promoted
from heredity.merging.lora_overlay import LoraWeights
from heredity.merging.mergekit_methods import Rule, rule_for
from heredity.merging.mergekit_schema import MergeConfig, ModelRef, Parameters, Scalar, Slice, Source, evaluate
from heredity.merging.mergekit_steps import in_steps
from heredity.merging.methods import TensorMethod, TensorParams
from heredity.merging.safetensors_header import Entry
from heredity.merging.streaming import Read, TensorJob
from heredity.merging.task_vector import GeneralizedTaskArithmetic
from heredity.merging.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

_LAYER = re.compile(r"\.(\d+)\.")
_BEFORE_LAYERS = re.compile(r"embed(?!_out)|wte|wpe")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
_TIED = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings)\.weight$")
_HEAD_BIAS = re.compile(r"(^|\.)(lm_head|embed_out)\.bias$")
# Some files carry these; models recompute them.
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|\.masked_bias|\.attn\.bias)$")


@dataclass(frozen=True, slots=True)
class Parent:
    """A model of the merge, opened."""

    ref: ModelRef
    weights: Checkpoint | LoraWeights
    checkpoint: Checkpoint
    config: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where its configuration and tokenizer lie."""
        return self.checkpoint.folder

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Its tensors."""
        return self.weights.entries

    def stacks(self) -> dict[str, int]:
        """Number of layers by the name before the layer index."""
        found: dict[str, int] = {}
        for name in self.entries:
            if match := _LAYER.search(name):
                prefix = name[: match.start()]
                found[prefix] = max(found.get(prefix, 0), int(match[1]) + 1)
        return found

    def resolve(self, name: str) -> str | None:
        """The tensor that serves as `name`: itself, or the embedding that a head is tied to; None if there is none."""
        if name in self.entries or not _HEAD.search(name):
            return name if name in self.entries else None
        return next((other for other in self.entries if _TIED.search(other)), None)


@dataclass(slots=True)
class Plan:
    """What a merge will do.

    Attributes:
        jobs: one per tensor of the output.
        layers: for each output layer the model and layer it is named for; None when layers were not rearranged.
        lead: the model whose config.json and files the output takes: the base, or the first.
        notes: sentences for the user.
    """

    jobs: list[TensorJob]
    layers: list[tuple[ModelRef, int]] | None
    lead: Parent
    parents: list[Parent]
    notes: list[str] = field(default_factory=list)

    @property
    def read_bytes(self) -> int:
        """Bytes of parents' tensors that are read."""
        sizes = 0
        entries: dict[int, Mapping[str, Entry]] = {id(parent.weights): parent.entries for parent in self.parents}
        for job in self.jobs:
            for read in [*job.inputs, *([job.base] if job.base else [])]:
                sizes += entries[id(read.weights)][read.name].nbytes
        return sizes

    @property
    def sums(self) -> bool:
        """Whether every job is a sum that numpy makes, so that torch is not needed."""
        return all(job.sums for job in self.jobs)

    @property
    def write_bytes(self) -> int:
        """Bytes of tensors that are written."""
        return sum(job.out_bytes for job in self.jobs)


def build_plan(config: MergeConfig, parents: Sequence[Parent], vocabulary: Vocabulary | None = None) -> Plan:
    """Turn a configuration into jobs.

    Args:
        config: the configuration.
        parents: every model it references.
        vocabulary: the output's, where the configuration asks for one.

    Raises:
        RecipeError: a parameter is missing, a method is unknown or a layer range goes beyond a model.
        MergeError: the models do not fit together; the tensor is named.
    """
    return _Planner(config, parents, vocabulary).plan()


class _Planner:
    def __init__(self, config: MergeConfig, parents: Sequence[Parent], vocabulary: Vocabulary | None) -> None:
        self.config, self.vocabulary = config, vocabulary
        self.rule: Rule = rule_for(config.method, config.origin)
        self.parents = {parent.ref: parent for parent in parents}
        first = config.base_model or config.references()[0]
        lead = self.parents[first]
        self.output = Plan([], None, lead, list(parents), self.rule.notes(config))

    def plan(self) -> Plan:
        if self.config.slices:
            self.stack(self.config.slices)
        else:
            self.whole()
        names = {job.name for job in self.output.jobs}
        ignored = sorted({n for p in self.output.parents for n in p.entries if _BUFFERS.search(n)} - names)
        if ignored:
            self.output.notes.append(f"{len(ignored)} stored buffers such as {ignored[0]!r} are left out")
        return self.output

    # --- whole models -------------------------------------------------------------------------------------

    def whole(self) -> None:
        sources = list(self.config.models)
        seen: set[ModelRef] = set()
        for source in sources:
            if source.model in seen:
                raise RecipeError(f"{self.config.origin}: models lists {source.model} twice")
            seen.add(source.model)
        base = self.config.base_model
        if base is not None and base not in seen and self.rule.takes_base:
            sources.append(Source(base))
        stacks = [self.parents[source.model].stacks() for source in sources]
        for source, stack in zip(sources[1:], stacks[1:], strict=True):
            for prefix, count in stacks[0].items():
                if stack.get(prefix, count) != count:
                    raise MergeError(
                        f"{sources[0].model} has {count} layers in {prefix!r} and {source.model} has {stack[prefix]}; "
                        "use slices with layer_range to choose among them"
                    )
        for name in self.names([self.parents[source.model] for source in sources]):
            match = _LAYER.search(name)
            t = 0.0
            if match:
                count = max(stack.get(name[: match.start()], 0) for stack in stacks)
                t = int(match[1]) / (count - 1) if count > 1 else 1.0
            self.tensor(name, [(source, name) for source in sources], base, {}, t)

    def names(self, parents: Sequence[Parent]) -> list[str]:
        every = dict.fromkeys(name for parent in parents for name in parent.entries)
        return [
            name
            for name in every
            if not (_BUFFERS.search(name) and any(name not in parent.entries for parent in parents))
        ]

    # --- slices -------------------------------------------------------------------------------------------

    def stack(self, slices: Sequence[Slice]) -> None:
        every = list(dict.fromkeys(source.model for piece in slices for source in piece.sources))
        prefixes = {prefix for ref in every for prefix in self.parents[ref].stacks()}
        if len(prefixes) != 1:
            raise RecipeError(
                f"{self.config.origin}: slices need models with one stack of layers; found {sorted(prefixes) or 'none'}"
            )
        prefix = prefixes.pop()
        loose = self.names([self.parents[ref] for ref in every])
        loose = [name for name in loose if not _LAYER.search(name)]
        for name in (name for name in loose if _BEFORE_LAYERS.search(name)):
            self.in_slice(slices[0], name, [name] * len(slices[0].sources), 0.0)
        self.output.layers = []
        for number, piece in enumerate(slices):
            self.check_slice(number, piece, prefix)
            lead = piece.sources[0]
            assert lead.layers is not None
            count = lead.layers[1] - lead.layers[0]
            for step in range(count):
                ends = self.layer_names(piece, prefix, step)
                target = len(self.output.layers)
                for end in ends:
                    froms = [f"{prefix}.{source.layers[0] + step}.{end}" for source in piece.sources if source.layers]
                    t = step / (count - 1) if count > 1 else 1.0
                    self.in_slice(piece, f"{prefix}.{target}.{end}", froms, t)
                self.output.layers.append((lead.model, lead.layers[0] + step))
        for name in (name for name in loose if not _BEFORE_LAYERS.search(name)):
            self.in_slice(slices[-1], name, [name] * len(slices[-1].sources), 0.0)

    def check_slice(self, number: int, piece: Slice, prefix: str) -> None:
        for i, source in enumerate(piece.sources):
            assert source.layers is not None
            has = self.parents[source.model].stacks()[prefix]
            if source.layers[1] > has:
                raise RecipeError(
                    f"{self.config.origin}: slices[{number}].sources[{i}].layer_range {list(source.layers)} goes "
                    f"beyond the {has} layers of {source.model}"
                )
        if len({source.model for source in piece.sources}) < len(piece.sources):
            raise RecipeError(f"{self.config.origin}: slices[{number}] takes a model twice; put it into two slices")

    def layer_names(self, piece: Slice, prefix: str, step: int) -> list[str]:
        sets = []
        for source in piece.sources:
            assert source.layers is not None
            start = f"{prefix}.{source.layers[0] + step}."
            sets.append([n.removeprefix(start) for n in self.parents[source.model].entries if n.startswith(start)])
        every = dict.fromkeys(end for names in sets for end in names)
        return [end for end in every if all(end in names for names in sets) or not _BUFFERS.search(f".{end}")]

    def in_slice(self, piece: Slice, name: str, froms: Sequence[str], t: float) -> None:
        base = piece.base_model or self.config.base_model
        self.tensor(name, list(zip(piece.sources, froms, strict=True)), base, piece.parameters, t)

    # --- one tensor ---------------------------------------------------------------------------------------

    def tensor(
        self,
        name: str,
        sources: Sequence[tuple[Source, str]],
        base: ModelRef | None,
        piece: Parameters,
        t: float,
    ) -> None:
        outer = (piece, self.config.module_parameters, self.config.parameters)
        names: dict[ModelRef, str] = {}
        for source, wanted in sources:
            found = self.parents[source.model].resolve(wanted)
            if found is None:
                others = [other.model for other, _ in sources if self.parents[other.model].resolve(wanted)]
                whose = f", which {others[0]} has" if others else ""
                raise MergeError(f"{source.model} has no tensor {wanted!r}{whose}")
            names[source.model] = found

        asked = {source.model: wanted for source, wanted in sources}

        def value(key: str, source: Source | None = None) -> Scalar | None:
            levels = ([source.parameters] if source else []) + list(outer)
            label = name if source is None else asked[source.model]
            for level in levels:
                if key in level and (found := evaluate(level[key], label, t)) is not None:
                    return found
            return None

        made = self.rule.make(name, [source for source, _ in sources], base, value, self.config.origin)
        order = [*made.models, *([made.base] if made.base else [])]
        reads = {ref: Read(self.parents[ref].weights, names[ref], self.called(ref, names[ref])) for ref in order}
        entries = {ref: self.parents[ref].entries[names[ref]] for ref in reads}
        lead = entries[base] if base in entries else entries[order[0]]
        shape, prepare = lead.shape, None
        if self.vocabulary and is_embedding(name) and self.is_vocabulary(order, entries):
            shape = (self.vocabulary.size, *lead.shape[1:])
            prepare = _Moved(self.vocabulary, tuple(order))
        else:
            self.check_shapes(name, entries)
        dtype = lead.dtype_name
        floating, stored = is_floating(dtype), [entry.dtype_name for entry in entries.values()]
        narrow = [name for name in stored if is_floating(name) and item_size(name) == 1]
        if narrow and floating and not self.config.dtype:
            raise MergeError(f"{name!r} is stored as {narrow[0]}; say dtype: bfloat16 to merge such weights")
        if floating:
            dtype = self.config.dtype or promoted(stored)
        out_dtype = self.config.out_dtype if self.config.out_dtype and floating else dtype
        self.output.jobs.append(
            TensorJob(
                name=name,
                shape=shape,
                inputs=tuple(reads[ref] for ref in made.models),
                base=reads[made.base] if made.base else None,
                method=in_steps(made.method, dtype),
                params=_at_least_one(made.params, made.method, prod(shape)),
                dtype=dtype,
                out_dtype=out_dtype,
                prepare=prepare,
                input_bytes=prod(shape)
                * max(item_size(dtype), item_size(lead.dtype_name))
                * len(order)
                * (2 if prepare else 1),
            )
        )

    def called(self, ref: ModelRef, name: str) -> str:
        return str(ref) if ref.lora else str(self.parents[ref].entries[name].file)

    def is_vocabulary(self, refs: Sequence[ModelRef], entries: Mapping[ModelRef, Entry]) -> bool:
        return all(entries[ref].shape[:1] == (vocabulary_rows(self.parents[ref]),) for ref in refs)

    def check_shapes(self, name: str, entries: Mapping[ModelRef, Entry]) -> None:
        first, *others = entries
        for other in others:
            if entries[other].shape != entries[first].shape:
                hint = ""
                if is_embedding(name):
                    hint = "; the vocabularies differ, say tokenizer_source: base (or union)"
                raise MergeError(
                    f"shapes differ at {name!r}: {first} has {entries[first].shape}, "
                    f"{other} has {entries[other].shape}{hint}"
                )


@dataclass(frozen=True)
class _Moved:
    """Moves the inputs of a job to the output's vocabulary."""

    vocabulary: Vocabulary
    order: tuple[ModelRef, ...]

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        moved = self.vocabulary.move(dict(zip(self.order, tensors, strict=True)))
        return [moved[ref] for ref in self.order]


def _at_least_one(params: TensorParams, method: TensorMethod | None, numel: int) -> TensorParams:
    """mergekit keeps the largest entry of a tensor so small that its density would keep none (TIES alone)."""
    trims = isinstance(method, GeneralizedTaskArithmetic) and method.sparsify == "magnitude"
    if not trims or params.density is None or not numel:
        return params
    return replace(params, density=tuple(max(d, 1.5 / numel) if 0 < d < 1 else d for d in params.density))


def is_embedding(name: str) -> bool:
    """Whether a tensor's first axis is the vocabulary, judging by its name."""
    return any(pattern.search(name) for pattern in (_TIED, _HEAD, _HEAD_BIAS))


def vocabulary_rows(parent: Parent) -> int | None:
    """Rows of a model's embeddings."""
    name = next((name for name in parent.entries if _TIED.search(name)), None)
    return parent.entries[name].shape[0] if name else None
