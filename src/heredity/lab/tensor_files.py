"""Safetensors files: several read as one lazily mapped state dict, and written with the same bytes every time.

Headers are checked before anything is mapped, so that damage has a file and a tensor to name. Our own writer, because
the reference one writes metadata of several keys in random order.
Source: the safetensors format (8-byte little-endian header length, JSON header, tensors back to back) and the
Hugging Face layout of sharded models (`model.safetensors.index.json`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import LabError, NonFinite
from heredity.lab.blobs import tensor_bytes

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER = 100_000_000  # the format's own limit
_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        LabError: the file cannot be read or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise LabError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise LabError(f"{path} holds a JSON {type(value).__name__} where an object belongs")
    return value


def read_header(path: Path) -> tuple[list[str], dict[str, str]]:
    """Tensor names in file order, and the metadata, of a safetensors file; nothing is mapped.

    Raises:
        LabError: the file cannot be read, is cut short, or its header is damaged.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                raise LabError(f"{path} is cut short or no safetensors file: its header does not fit its {size} bytes")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # broken JSON or text
        raise LabError(f"the header of {path} is damaged: {error}") from error
    metadata = (header.pop("__metadata__", None) or {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise LabError(f"the header of {path} is damaged: it, or its metadata, is no JSON object")
    ends: list[tuple[int, str]] = []
    for name, entry in header.items():
        try:
            ends.append((8 + length + int(entry["data_offsets"][1]), name))
        except (TypeError, KeyError, IndexError, ValueError):
            raise LabError(f"the header of {path} is damaged at {name!r}") from None
    for end, name in sorted(ends):
        if end > size:
            raise LabError(f"{path} is cut short: {name!r} should end at byte {end}, the file has {size}")
    return [name for _, name in sorted(ends)], {str(key): str(value) for key, value in metadata.items()}


class TensorFiles(Mapping[str, "Tensor"]):
    """The tensors of one or several safetensors files by name; each is mapped when it is asked for.

    Args:
        files: the files; their tensors have different names.

    Raises:
        LabError: a file is damaged, or two files hold a tensor of the same name.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.places: dict[str, Path] = {}
        self.metadata: dict[str, str] = {}
        self._open: dict[Path, Any] = {}
        for path in files:
            names, metadata = read_header(path)
            self.metadata = self.metadata or metadata
            for name in names:
                if name in self.places:
                    raise LabError(f"{path} holds {name!r}, which {self.places[name].name} holds too")
                self.places[name] = path

    @classmethod
    def of_index(cls, index: Path) -> TensorFiles:
        """The shards that an index file names.

        Raises:
            LabError: a shard is missing, or index and shards disagree about a tensor.
        """
        wanted = read_json(index).get("weight_map")
        if not isinstance(wanted, dict) or not all(isinstance(shard, str) for shard in wanted.values()):
            raise LabError(f"{index} has no weight_map from tensor names to file names")
        for name, shard in wanted.items():
            if Path(shard).name != shard or not shard.endswith(".safetensors"):
                raise LabError(f"{index} places {name!r} in {shard!r}; a shard is a .safetensors file beside the index")
            if not (index.parent / shard).is_file():
                raise LabError(f"the shard {shard} is missing from {index.parent}; it holds {name!r} and others")
        files = cls([index.parent / shard for shard in sorted(set(wanted.values()))])
        for name, shard in wanted.items():
            if files.places.get(name) != index.parent / shard:
                raise LabError(f"{index} places {name!r} in {shard}, which does not hold it")
        for name, path in files.places.items():
            if name not in wanted:
                raise LabError(f"{index} does not list {name!r}, which {path.name} holds")
        return files

    def __getitem__(self, name: str) -> Tensor:
        from safetensors import SafetensorError, safe_open

        path = self.places[name]
        try:
            if path not in self._open:
                self._open[path] = safe_open(path, framework="pt")
            return self._open[path].get_tensor(name)
        except (SafetensorError, OSError, AttributeError, KeyError) as error:
            raise LabError(f"cannot read {name!r} from {path}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def check_finite(self) -> None:
        """Read all tensors once.

        Raises:
            NonFinite: one holds NaN or infinity; the message names tensor and file.
        """
        import torch

        for name in self:
            tensor = self[name]
            if tensor.is_floating_point() and tensor.element_size() == 1:
                tensor = tensor.float()  # 8-bit formats have no isfinite of their own
            if tensor.is_floating_point() or tensor.is_complex():
                finite = torch.isfinite(tensor)
                if not bool(finite.all()):
                    count = int((~finite).sum())
                    raise NonFinite(f"{name!r} in {self.places[name]} has {count} non-finite values (NaN or infinity)")


def plan_shards(weights: Mapping[str, Tensor], limit: int) -> list[list[str]]:
    """Tensor names in order, grouped into files of at most `limit` bytes; a larger tensor stands alone."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name in sorted(weights):
        tensor = weights[name]
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def write_tensors(path: Path, weights: Mapping[str, Tensor], names: Sequence[str], metadata: Mapping[str, str]) -> int:
    """Write the named tensors to a safetensors file, one at a time; returns their bytes.

    Raises:
        LabError: a tensor has a type that the format does not know.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    # Widest elements first, as the reference writer does: every tensor then lies aligned to its element size.
    order = sorted(names, key=lambda name: (-weights[name].element_size(), name))
    offset = 0
    for name in order:
        tensor = weights[name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _CODES:
            raise LabError(f"{name!r} has the type {dtype}, which safetensors cannot hold; convert it first")
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _CODES[dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for name in order:
            stream.write(tensor_bytes(weights[name]))
        stream.flush()
        os.fsync(stream.fileno())
    return offset
