"""Content-addressed weights: `weights/ab/abcd….safetensors`, named by the hash of the tensors they hold.

A blob is written under a temporary name, synced and renamed, so that a half-written one is never visible. Tensors that
share memory are stored once. Small files a model needs beside its weights (a tokenizer) live in `files/` the same way.
"""

from __future__ import annotations

import contextlib
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


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The tensor's elements as bytes, row-major, whatever its dtype."""
    import torch

    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


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

    for name, tensor in weights.items():
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise NonFinite(f"{owner} has {count} non-finite values (NaN or infinity) in {name!r}")


def split_aliases(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Separate tensors that share memory: one of each, and {alias: the name that is kept}."""
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


class LazyWeights(Mapping[str, "Tensor"]):
    """State dict of a blob on disk: tensors are memory-mapped when they are asked for."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            self._file: Any = safe_open(path, framework="pt")
            self._names = list(self._file.keys())
        except (SafetensorError, OSError) as error:
            raise DamagedRecord(
                f"the blob {path.name} is damaged ({error}); heredity verify names what it affects"
            ) from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class BlobStore:
    """The `weights` and `files` folders of a lab."""

    def __init__(self, root: Path, folder: str = "weights", *, cache: int = 64, cache_bytes: int = 1 << 29) -> None:
        self.root = root
        self.folder = root / folder
        self._open: OrderedDict[str, tuple[Mapping[str, Tensor], int]] = OrderedDict()
        self._cache, self._cache_bytes = cache, cache_bytes

    def path(self, sha: str) -> Path:
        """Where the blob of this hash lies, whether or not it is there."""
        return self.folder / sha[:2] / f"{sha}.safetensors"

    def has(self, sha: str) -> bool:
        """Whether the blob is stored."""
        return self.path(sha).exists()

    def at_hand(self, sha: str) -> bool:
        """Whether the weights are stored, or still in this process's memory."""
        return sha in self._open or self.has(sha)

    def save(self, weights: Mapping[str, Tensor], sha: str) -> None:
        """Store weights under their hash; storing the same weights again costs nothing.

        Raises:
            LabError: the disk is full or failed; nothing half-written is visible.
        """
        from safetensors.torch import save_file

        path = self.path(sha)
        if path.exists():
            return
        tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in weights.items()}
        with self.new_file(path) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})

    def remember(self, weights: Mapping[str, Tensor], sha: str) -> None:
        """Keep weights at hand for a while, without storing them; mapped files count as nothing."""
        mapped = isinstance(weights, LazyWeights)
        size = 0 if mapped else sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
        self._open[sha] = (weights, size)
        self._open.move_to_end(sha)
        while len(self._open) > 1 and (
            len(self._open) > self._cache or sum(size for _, size in self._open.values()) > self._cache_bytes
        ):
            self._open.popitem(last=False)

    def load(self, sha: str) -> Mapping[str, Tensor]:
        """The weights of this hash; tensors are mapped from disk when asked for.

        Raises:
            FileNotFoundError: the blob is not stored.
            DamagedRecord: the file cannot be read.
        """
        if sha in self._open:
            self._open.move_to_end(sha)
            return self._open[sha][0]
        path = self.path(sha)
        if not path.exists():
            raise FileNotFoundError(path)
        weights = LazyWeights(path)
        self.remember(weights, sha)
        return weights

    def forget(self, sha: str) -> None:
        """No longer keep weights at hand."""
        self._open.pop(sha, None)

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
        except PermissionError as error:
            raise ReadOnlyLab(f"cannot write to the lab at {self.root}: {error.strerror}") from error
        except Exception as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
                raise LabError(f"cannot write {path}: {error}; nothing was stored") from error
            raise
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


class EvidenceStore:
    """Tensors that are operators' fields: evidence, kept with the lab so that a birth can be rebuilt from it."""

    def __init__(self, root: Path, *, writable: bool = True) -> None:
        self.blobs = BlobStore(root, "evidence")
        self._writable = writable
        self._hashes: Any = None

    def save(self, value: Any) -> str:
        """Store a tensor or array; returns its hash. A tensor that was not changed since is not hashed again."""
        import torch
        from torch.utils.weak import WeakIdKeyDictionary

        if not isinstance(value, torch.Tensor):
            return self._store(torch.from_numpy(value))
        if self._hashes is None:
            self._hashes = WeakIdKeyDictionary()
        known = self._hashes.get(value)
        if known is None or known[0] != value._version:
            known = self._hashes[value] = (value._version, self._store(value))
        return known[1]

    def _store(self, tensor: Tensor) -> str:
        weights = {"evidence": tensor}
        sha = weights_digest(weights)
        if self._writable:
            self.blobs.save(weights, sha)
        return sha

    def load(self, sha: str) -> Tensor:
        """The tensor of this hash.

        Raises:
            FileNotFoundError: it is not stored.
        """
        return self.blobs.load(sha)["evidence"]
