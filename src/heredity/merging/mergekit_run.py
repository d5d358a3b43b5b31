"""Run a mergekit configuration: open its models, plan, merge into a model folder.

`open_merge` reads headers only, so that a plan can be looked at before anything is merged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from heredity.errors import RecipeError
from heredity.merging.card import merge_card
from heredity.merging.checkpoint import Checkpoint
from heredity.merging.checkpoint_writer import fresh_folder, name_disk_errors
from heredity.merging.lora_overlay import LoraWeights
from heredity.merging.merged_folder import write_model_files
from heredity.merging.mergekit_config import load_config
from heredity.merging.mergekit_plan import Parent, Plan, build_plan, vocabulary_rows
from heredity.merging.mergekit_schema import MergeConfig, ModelRef
from heredity.merging.model_source import locate, nearby, weight_paths
from heredity.merging.parent_hashes import ParentHashes
from heredity.merging.streaming import write_jobs
from heredity.merging.vocabulary import Vocabulary, build_vocabulary


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge wrote.

    Attributes:
        folder: the model folder.
        weights: names of the safetensors files (and their index) in it.
        tensors: number of tensors.
        read_bytes: bytes of tensors read for the merge.
        write_bytes: bytes of tensors written.
        seconds: wall time of the merge, hashing and syncing to disk included.
        parents: SHA-256 of the weights by parent.
        notes: sentences for the user.
    """

    folder: Path
    weights: tuple[str, ...]
    tensors: int
    read_bytes: int
    write_bytes: int
    seconds: float
    parents: dict[str, str]
    notes: tuple[str, ...] = field(default=())


class Merge:
    """A configuration with its models opened and its plan made. Use as a context manager; see `open_merge`."""

    def __init__(self, config: MergeConfig) -> None:
        self.config = config
        self._stack = contextlib.ExitStack()
        self._near = nearby(config)
        with contextlib.ExitStack() as opening:
            self.parents = [self._open(ref, opening) for ref in config.references()]
            self.vocabulary, self._tokenizer_from, notes = self._vocabulary()
            self.plan: Plan = build_plan(config, self.parents, self.vocabulary)
            self.plan.notes += notes
            self._stack = opening.pop_all()

    def _open(self, ref: ModelRef, stack: contextlib.ExitStack) -> Parent:
        checkpoint = stack.enter_context(Checkpoint(locate(ref.path, ref.revision, self._near)))
        if ref.lora is None:
            if checkpoint.json("adapter_config.json") is not None and checkpoint.json("config.json") is None:
                raise RecipeError(f"{ref} is an adapter; write it as model+adapter, such as base+{ref.path}")
            return Parent(ref, checkpoint, checkpoint, checkpoint.json("config.json") or {})
        adapter = stack.enter_context(Checkpoint(locate(ref.lora, ref.lora_revision, self._near)))
        return Parent(ref, LoraWeights(checkpoint, adapter), checkpoint, checkpoint.json("config.json") or {})

    def _vocabulary(self) -> tuple[Vocabulary | None, Path, list[str]]:
        lead = self.config.base_model or self.config.references()[0]
        folder = next(parent.folder for parent in self.parents if parent.ref == lead)
        wanted = self.config.tokenizer
        if wanted is None:
            return None, folder, []
        source = None
        if isinstance(wanted.source, ModelRef):
            path = locate(wanted.source.path, wanted.source.revision, self._near)
            source = path if path.is_dir() else path.parent
        models = []
        for parent in self.parents:
            size = parent.config.get("vocab_size") or vocabulary_rows(parent)
            if not isinstance(size, int):
                raise RecipeError(f"{parent.ref} does not say how large its vocabulary is (config.json, vocab_size)")
            models.append((parent.ref, parent.folder, size))
        vocabulary, notes = build_vocabulary(wanted, models, self.config.base_model, source)
        return vocabulary, vocabulary.folder, notes

    def write(
        self,
        out: str | Path,
        *,
        seed: int = 0,
        threads: int | None = None,
        max_shard_size: int = 5_000_000_000,
        overwrite: bool = False,
        progress: Callable[[int], object] | None = None,
        hashes: ParentHashes | None = None,
    ) -> Merged:
        """Merge into the folder `out`, which appears when everything is written.

        Args:
            out: the folder to make.
            seed: of random masks.
            threads: worker threads, default one per core.
            max_shard_size: bytes of tensors per file.
            overwrite: replace a folder that holds files.
            progress: called with the bytes of each tensor written.
            hashes: those of `weight_paths(config)`, where the caller has begun them already.

        Raises:
            MergeError: the folder holds files, the disk is full, or a model is damaged.
            NonFinite: a model or the result holds NaN or infinity.
        """
        out, start = Path(out).absolute(), time.perf_counter()
        with contextlib.ExitStack() as stack:
            if hashes is None:
                hashes = stack.enter_context(ParentHashes(weight_paths(self.config)))
            folder = stack.enter_context(fresh_folder(out, overwrite=overwrite))
            with name_disk_errors(folder, self.plan.write_bytes):
                write_model_files(folder, self.plan, self.config, self.vocabulary, self._tokenizer_from)
                (folder / "mergekit_config.yml").write_text(self.config.text, encoding="utf-8")
            files = write_jobs(
                self.plan.jobs,
                folder,
                hashes,
                {"method": self.config.method},
                seed=seed,
                threads=threads,
                max_shard_size=max_shard_size,
                progress=progress,
            )
            digests = hashes.result()
            card = merge_card(out.name, self.config, local=self._local(), seed=seed, hashes=digests)
            with name_disk_errors(folder, self.plan.write_bytes):
                (folder / "README.md").write_text(card, encoding="utf-8")
        return Merged(
            out,
            tuple(file.name for file in files),
            len(self.plan.jobs),
            self.plan.read_bytes,
            self.plan.write_bytes,
            time.perf_counter() - start,
            digests,
            tuple(self.plan.notes),
        )

    def _local(self) -> dict[str, bool]:
        paths = {path for ref in self.config.references() for path in (ref.path, ref.lora) if path is not None}
        return {path: any((near / Path(path).expanduser()).exists() for near in self._near) for path in paths}

    def close(self) -> None:
        """Close the models."""
        self._stack.close()

    def __enter__(self) -> Merge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_merge(config: str | Path | MergeConfig) -> Merge:
    """Open the models of a mergekit configuration (a YAML file, or one already parsed) and plan the merge.

    Raises:
        RecipeError: the configuration is wrong; key and place are named.
        MergeError: the models do not fit together, or a file is damaged.

    Example:
        with open_merge("ties.yml") as merge:
            merged = merge.write("out")
    """
    return Merge(config if isinstance(config, MergeConfig) else load_config(config))
