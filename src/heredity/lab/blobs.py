"""Content-addressed weights: `weights/ab/abcd….safetensors`, named by the hash of the tensors they hold.

A blob is written under a temporary name, synced and renamed, so that a half-written one is never visible. Tensors that
share memory are stored once. Small files a model needs beside its weights (a tokenizer) live in `files/` the same way.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import DamagedRecord, LabError, NonFinite, ReadOnlyLab

if TYPE_CHECKING:
    from torch import Tensor


SMALL = 1 << 20  # bytes of evidence that are hashed anew every time, however they may have been changed


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The tensor's elements as bytes, row-major, whatever its dtype."""
    import torch

    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def nbytes(weights: Mapping[str, Tensor]) -> int:
    """Bytes of the elements."""
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and elements, in the order of names; metadata does not enter."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        sha.update(f"{name}\x00{str(tensor.dtype).removeprefix('torch.')}\x00{tuple(tensor.shape)}\x00".encode())
        sha.update(tensor_bytes(tensor))
    return sha.hexdigest()


def check_all_finite(weights: Mapping[str, Tensor], owner: str) -> None:
    """Raise `NonFinite` naming the first tensor that holds NaN or infinity."""
    import torch

    for name, stored in weights.items():
        # isfinite is not written for eight-bit floats
        eight_bit = stored.is_floating_point() and stored.element_size() == 1
        tensor = stored.to(torch.float32) if eight_bit else stored
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise NonFinite(f"{owner} has {count} non-finite values (NaN or infinity) in {name!r}")


def split_aliases(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Separate a module's tensors that share memory: one of each, and {alias: the name that is kept}."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, str(tensor.device))
        if tensor.numel() and place in seen:
            aliases[name] = seen[place]
        else:
            seen[place] = name
            kept[name] = tensor
    return kept, aliases


def drop_tied(state: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """A state dict without the second names of tensors that its architecture ties, where both are the same values.

    Two equal entries that are not tied stay two: what becomes of them later is the operators' business.
    """
    import torch

    return {
        name: tensor
        for name, tensor in state.items()
        if not (tied.get(name) in state and torch.equal(tensor, state[tied[name]]))
    }


def check_tensors(state: Mapping[str, Any], owner: str) -> None:
    """Raise `LabError` naming the first entry that is no ordinary dense tensor with values."""
    import torch

    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise LabError(f"{owner} has a {type(tensor).__name__} under {name!r} where a tensor belongs")
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            kind = "meta" if tensor.is_meta else "quantised" if tensor.is_quantized else str(tensor.layout)
            raise LabError(f"{owner} has a {kind} tensor under {name!r}; only dense tensors with values can be stored")


class LazyWeights(Mapping[str, "Tensor"]):
    """State dict of a blob on disk: tensors are memory-mapped when they are asked for."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            self._file: Any = safe_open(path, framework="pt")
            self._names = set(self._file.keys())  # type: ignore[no-untyped-call,unused-ignore]
        except (SafetensorError, OSError) as error:
            raise DamagedRecord(
                f"the blob {path.name} is damaged ({error}); heredity verify names what it affects"
            ) from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)


class Watched(Mapping[str, "Tensor"]):
    """A parent's weights in a birth, remembering what was handed out to see that nobody wrote to it."""

    def __init__(self, weights: Mapping[str, Tensor], owner: str, handed: list[tuple[Tensor, int, str]]) -> None:
        self._weights, self._owner, self._handed = weights, owner, handed

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._weights[name]
        if not tensor.is_inference():
            self._handed.append((tensor, tensor._version, f"{self._owner} at {name!r}"))
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


class Copies(Mapping[str, "Tensor"]):
    """Weights held in memory, handed out as copies."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


class BlobGone(FileNotFoundError):
    """A blob that was there when a birth began is not there now: somebody's gc was faster."""


class BlobStore:
    """The `weights` and `files` folders of a lab."""

    def __init__(self, root: Path, folder: str = "weights", *, cache: int = 64, cache_bytes: int = 1 << 29) -> None:
        self.root = root
        self.folder = root / folder
        self._open: OrderedDict[str, tuple[Mapping[str, Tensor], int]] = OrderedDict()
        self._pinned: dict[str, Mapping[str, Tensor]] = {}
        self._cache, self._cache_bytes = cache, cache_bytes

    def path(self, sha: str) -> Path:
        """Where the blob of this hash lies, whether or not it is there."""
        return self.folder / sha[:2] / f"{sha}.safetensors"

    def has(self, sha: str) -> bool:
        """Whether the blob is stored."""
        return self.path(sha).exists()

    def at_hand(self, sha: str) -> bool:
        """Whether the weights are stored, or still in this process's memory."""
        return sha in self._pinned or sha in self._open or self.has(sha)

    def save(self, weights: Mapping[str, Tensor], sha: str, *, replace: bool = False) -> None:
        """Store weights under their hash; storing the same weights again costs nothing.

        Args:
            replace: write even where a blob of this name lies (it may be damaged).

        Raises:
            LabError: the disk is full or failed; nothing half-written is visible.
        """
        from safetensors.torch import save_file

        path = self.path(sha)
        if not replace:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > nbytes(weights):  # a truncated one is written anew
                    return
        tensors: dict[str, Tensor] = {}
        storages: set[int] = set()
        for name, tensor in weights.items():
            plain = tensor.detach().to("cpu").contiguous()
            storage = plain.untyped_storage()
            # The format knows no shared memory: views of one storage are written as copies.
            if storage.data_ptr() in storages or storage.nbytes() != plain.numel() * plain.element_size():
                plain = plain.clone()
            else:
                storages.add(storage.data_ptr())
            tensors[name] = plain
        with self.new_file(path) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        self._open.pop(sha, None)

    def remember(self, weights: Mapping[str, Tensor], sha: str) -> None:
        """Keep weights at hand for a while, without storing them; mapped files count as nothing."""
        mapped = isinstance(weights, LazyWeights)
        size = 0 if mapped else nbytes(weights)
        self._open[sha] = (weights, size)
        self._open.move_to_end(sha)
        while len(self._open) > 1 and (
            len(self._open) > self._cache or sum(size for _, size in self._open.values()) > self._cache_bytes
        ):
            self._open.popitem(last=False)

    def pin(self, sha: str, weights: Mapping[str, Tensor]) -> None:
        """Keep weights at hand until they are forgotten."""
        self._pinned[sha] = weights

    def load(self, sha: str, *, private: bool = False) -> Mapping[str, Tensor]:
        """The weights of this hash; tensors are mapped from disk when asked for.

        Args:
            private: what the caller writes to these tensors reaches nobody else.

        Raises:
            BlobGone: the blob is not stored.
            DamagedRecord: the file cannot be read.
        """
        weights = self._pinned.get(sha)
        if weights is None and sha in self._open:
            self._open.move_to_end(sha)
            weights = self._open[sha][0]
        if weights is not None and not (private and isinstance(weights, LazyWeights)):
            return Copies(weights) if private else weights
        path = self.path(sha)
        if not path.exists():
            if isinstance(weights, LazyWeights):  # deleted, but mapped still
                return Copies(weights)
            raise BlobGone(f"the blob {sha} is not stored")
        fresh = LazyWeights(path)
        if not private:
            self.remember(fresh, sha)
        return fresh

    def forget(self, sha: str) -> None:
        """No longer keep weights at hand."""
        self._open.pop(sha, None)
        self._pinned.pop(sha, None)

    def drop(self, sha: str) -> int:
        """Delete a blob; returns the bytes freed."""
        path = self.path(sha)
        self.forget(sha)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def shas(self) -> Iterator[tuple[str, Path]]:
        """All stored blobs, in the order of their names."""
        for path in sorted(self.folder.glob("??/*.safetensors")):
            if not path.name.startswith("."):
                yield path.stem, path

    def file_path(self, sha: str) -> Path:
        """Where the small file of this hash lies."""
        return self.root / "files" / sha[:2] / sha

    def save_file(self, content: bytes) -> str:
        """Store a small file; returns its hash."""
        sha = hashlib.sha256(content).hexdigest()
        path = self.file_path(sha)
        if not path.exists():
            with self.new_file(path) as temporary:
                temporary.write_bytes(content)
        return sha

    def load_file(self, sha: str) -> bytes:
        """The small file of this hash, checked.

        Raises:
            DamagedRecord: it is missing or changed.
        """
        try:
            content = self.file_path(sha).read_bytes()
        except FileNotFoundError:
            raise DamagedRecord(f"the file {sha} is missing from {self.root / 'files'}") from None
        if hashlib.sha256(content).hexdigest() != sha:
            raise DamagedRecord(f"the file {self.file_path(sha)} does not match its name")
        return content

    @contextlib.contextmanager
    def new_file(self, path: Path) -> Iterator[Path]:
        """A temporary name beside `path` to write to; synced and renamed on success, removed on failure."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
                raise ReadOnlyLab(f"cannot write to the lab at {self.root}: {error.strerror}") from error
            if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
                raise LabError(f"cannot write {path}: {error}; nothing was stored") from error
            raise

    def temporaries(self) -> Iterator[Path]:
        """Half-written files of killed or running writers."""
        for folder in (self.folder, self.root / "files"):
            yield from sorted(folder.glob("??/.*"))


class EvidenceStore:
    """Tensors that are operators' fields: evidence, kept with the lab so that a birth can be rebuilt from it."""

    def __init__(self, root: Path, *, writable: bool = True) -> None:
        self.blobs = BlobStore(root, "evidence")
        self._writable = writable
        self._hashes: Any = None

    def save(self, value: Any) -> str:
        """Store a tensor or array; returns its hash.

        A large tensor that PyTorch has not changed since is not hashed again.

        Raises:
            TypeError: its elements cannot be stored as a tensor's.
        """
        import torch
        from torch.utils.weak import WeakIdKeyDictionary

        if not isinstance(value, torch.Tensor):
            import numpy

            return self._store(torch.from_numpy(numpy.array(value, order="C")))
        if value.is_inference() or value.numel() * value.element_size() < SMALL:
            return self._store(value)
        if self._hashes is None:
            self._hashes = WeakIdKeyDictionary()
        known = self._hashes.get(value)
        if known is None or known[0] != value._version:
            known = self._hashes[value] = (value._version, self._store(value))
        return known[1]

    def _store(self, tensor: Tensor) -> str:
        weights = {"evidence": tensor}
        try:
            check_tensors(weights, "the field")
        except LabError as error:
            raise TypeError(str(error)) from None
        sha = weights_digest(weights)
        if self._writable:
            self.blobs.save(weights, sha)
        return sha

    def load(self, sha: str) -> Tensor:
        """The tensor of this hash.

        Raises:
            FileNotFoundError: it is not stored.
            DamagedRecord: it cannot be read.
        """
        return self.blobs.load(sha, private=True)["evidence"]
