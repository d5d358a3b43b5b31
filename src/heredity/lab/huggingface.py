"""Models from and to folders as Hugging Face writes them: transformers models, peft adapters, plain PyTorch weights.

What is exported carries its lineage twice: in the card (README.md) and in the metadata of every weights file, under the
one key `lineage` (a JSON text, see `heredity.lab.card.lineage`, with the architecture). When such a file is read again,
also alone and in another lab, its weights are checked against the hash in it, and what it says about its birth becomes
the label `lineage` of the import; ids in it are those of the lab where it was born.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from heredity.errors import DamagedRecord, LabError, MissingExtra, NewerFormat
from heredity.lab import card
from heredity.lab.architecture import base_of, is_adapter, peft_config, transformers_config
from heredity.lab.blobs import weights_digest
from heredity.lab.hf_modules import transformers_class, weights_dtype
from heredity.lab.tensor_files import TensorFiles, plan_shards, read_json, write_tensors
from heredity.lab.whole_folder import whole_folder

if TYPE_CHECKING:
    from torch import Tensor

    from heredity.lab.model import Model

# Files that belong to a model beside its weights and config.json.
_KEPT = (
    "tokenizer*.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "*processor_config.json",
    "LICENSE*",
    "NOTICE*",
)
_WRITTEN = ("config.json", "adapter_config.json", "heredity.json", "README.md")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
_KINDS = {"class": "path", "transformers": "class", "peft": "config"}  # a key that each kind of architecture has


@dataclass(frozen=True)
class Found:
    """A model read from disk.

    Args:
        weights: tensors by name, mapped when they are asked for, all finite.
        architecture: how to build the module; None when the files do not say.
        files: small files that belong to it (a tokenizer), by name.
        labels: what the files say of their origin: hub, revision, base_model_name_or_path, lineage.
    """

    weights: Mapping[str, Tensor]
    architecture: dict[str, Any] | None
    files: dict[str, bytes]
    labels: dict[str, Any] = field(default_factory=dict)


def locate(name: str | Path) -> Path:
    """A local path as it is, or the local copy of a hub name such as org/name or org/name@revision.

    Raises:
        LabError: there is nothing of that name here or on the hub.
        MissingExtra: it is a hub name and huggingface_hub is not installed.
    """
    path = Path(name)
    if path.exists():
        return path
    repo, _, revision = path.as_posix().partition("@")
    if not card.HUB_NAME.fullmatch(repo):
        raise LabError(f"there is no model at {name}; give a folder, a .safetensors file, or a hub name like org/name")
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise MissingExtra(f"{name} is not a local path; reading it from the Hugging Face hub", "hf") from error
    wanted = [*_KEPT, "config.json", "adapter_config.json", "heredity.json", *_WEIGHTS]
    try:
        folder = huggingface_hub.snapshot_download(
            repo, revision=revision or None, allow_patterns=wanted, ignore_patterns=["*/*.safetensors"]
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LabError(f"{name} is neither a local path nor could it be fetched from the hub: {first}") from error
    return Path(folder)


def read_model(path: str | Path) -> Found:
    """Read a folder of transformers, peft or our own, or one .safetensors file. Pickled weights are refused.

    Args:
        path: the folder or file, or a hub name (see `locate`).

    Raises:
        LabError: it cannot be read as a model; file and tensor are named.
        NonFinite: a tensor holds NaN or infinity.
        DamagedRecord: an exported file's weights are not those it was exported with.
    """
    path = locate(path)
    if path.is_dir():
        return _read_folder(path)
    if any(fnmatch.fnmatch(path.name, pattern) for pattern in _PICKLES):
        raise LabError(f"{path} may hold pickled code and is not read; convert it to safetensors")
    if _SHARD.search(path.name):
        raise LabError(f"{path} is one of several shards; give the folder that holds them all")
    weights = TensorFiles([path])
    return _found(path, weights, None, {}, {})


def _read_folder(folder: Path) -> Found:
    adapter = (folder / "adapter_config.json").is_file()
    if adapter and _weights_file(folder, "model") is not None:
        raise LabError(f"{folder} holds both a model and an adapter; keep them in two folders")
    stem = "adapter_model" if adapter else "model"
    file = _weights_file(folder, stem)
    if file is None:
        pickles = sorted(item.name for item in folder.iterdir() if any(map(item.match, _PICKLES)))
        if pickles:
            raise LabError(
                f"{folder} holds its weights as {pickles[0]}, which may hold pickled code and is not read; "
                "convert it to safetensors (save_pretrained of a current transformers or peft writes it)"
            )
        raise LabError(f"{folder} holds no {stem}.safetensors and no {stem}.safetensors.index.json")
    weights = TensorFiles([file]) if file.suffix == ".safetensors" else TensorFiles.of_index(file)
    labels = _hub_labels(folder)
    spec: dict[str, Any] | None = None
    if adapter:
        settings = read_json(folder / "adapter_config.json")
        if "peft_type" not in settings:
            raise LabError(f"{folder / 'adapter_config.json'} has no peft_type, so it is no peft adapter")
        spec = {"kind": "peft", "config": peft_config(settings)}
        if settings.get("base_model_name_or_path"):
            labels["base_model_name_or_path"] = str(settings["base_model_name_or_path"])
    elif (folder / "heredity.json").is_file():
        ours = read_json(folder / "heredity.json")
        _check_format(ours, folder / "heredity.json")
        spec = _checked_spec(ours.get("architecture"), folder / "heredity.json")
    elif (folder / "config.json").is_file():
        # A config.json without model_type is some other library's (constructor arguments, say).
        settings = read_json(folder / "config.json")
        named = settings.get("architectures")
        cls = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
        if "model_type" in settings:
            spec = {"kind": "transformers", "class": cls, "config": transformers_config(settings)}
    return _found(folder, weights, spec, _small_files(folder), labels)


def _weights_file(folder: Path, stem: str) -> Path | None:
    """The weights or their index, in the order in which transformers looks for them."""
    for name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json"):
        if (folder / name).is_file():
            return folder / name
    return None


def _small_files(folder: Path) -> dict[str, bytes]:
    names = {file.relative_to(folder).as_posix() for pattern in _KEPT for file in folder.glob(pattern)}
    return {name: (folder / name).read_bytes() for name in sorted(names) if (folder / name).is_file()}


def _hub_labels(folder: Path) -> dict[str, Any]:
    """Name and commit, when the folder lies in the hub's local cache."""
    place = re.search(r"models--(.+)--([^/]+)/snapshots/([0-9a-f]{40})$", folder.absolute().as_posix())
    return {"hub": f"{place[1]}/{place[2]}", "revision": place[3]} if place else {}


def _found(
    path: Path, weights: TensorFiles, spec: dict[str, Any] | None, files: dict[str, bytes], labels: dict[str, Any]
) -> Found:
    """Check the weights, and add what their own metadata say."""
    weights.check_finite()
    told = _lineage(weights.metadata.get("lineage"), path)
    if told is None:
        return Found(weights, spec, files, labels)
    exported = _checked_spec(told.pop("architecture", None), path)
    tied = (exported or {}).get("tied", {})
    kept = {name: weights[name] for name in weights if name not in tied} if tied else weights
    if weights_digest(kept) != told["weights_sha256"]:
        raise DamagedRecord(f"{path} was changed after its export: its weights are not those of birth {told['id']}")
    if spec is None:
        spec = exported
    elif tied:
        spec = {**spec, "tied": tied}
    return Found(kept, spec, files, {**labels, "lineage": told})


def _lineage(text: str | None, path: Path) -> dict[str, Any] | None:
    """The lineage in a file's metadata; None when there is none of ours."""
    try:
        told = json.loads(text or "null")
    except ValueError:
        return None  # another program's key of the same name
    if not isinstance(told, dict) or "heredity" not in told:
        return None
    _check_format(told, path)
    steps = _items(told, "path") + _items(told, "parents")
    fits = all(isinstance(told.get(name), str) for name in ("id", "key", "weights_sha256"))
    fits = fits and all(isinstance(base, str) for base in _items(told, "base_models")) and all(map(_is_step, steps))
    if not fits:
        raise DamagedRecord(f"the lineage in the metadata of {path} is damaged: it lacks what every export writes")
    return told


def _items(told: Mapping[str, Any], name: str) -> list[Any]:
    items = told.get(name)
    return items if isinstance(items, list) else [None]


def _is_step(step: Any) -> bool:
    return isinstance(step, dict) and all(isinstance(step.get(name), str) for name in ("id", "kind", "operator"))


def _check_format(ours: Mapping[str, Any], path: Path) -> None:
    if ours.get("heredity") != card.FORMAT:
        raise NewerFormat(
            f"{path} has the export format {ours.get('heredity')!r}, this version knows {card.FORMAT}; update heredity"
        )


def _checked_spec(spec: Any, path: Path) -> dict[str, Any] | None:
    if spec is None:
        return None
    if (
        not isinstance(spec, dict)
        or _KINDS.get(spec.get("kind", "")) not in spec
        or not isinstance(spec["config"], dict)
    ):
        raise LabError(f"the architecture in {path} is of no kind that this version knows ({', '.join(_KINDS)})")
    return spec


# Export


def export_model(
    model: Model, folder: str | Path, *, overwrite: bool = False, max_shard_size: int = 5_000_000_000
) -> list[Path]:
    """Write a folder that transformers or peft load, or for other models one that `Lab.add` loads, with a model card.

    The same record gives the same bytes. The folder appears whole or not at all.

    Args:
        model: a model of an open lab.
        folder: where to; made when it does not exist.
        overwrite: replace a folder that holds an earlier export, and nothing else.
        max_shard_size: bytes per weights file.

    Raises:
        LabError: the folder is not empty, or a file cannot be written.
    """
    folder = Path(folder).resolve()
    if max_shard_size < 1:
        raise LabError(f"max_shard_size is {max_shard_size}; give a positive number of bytes")
    _check_target(folder, overwrite)
    spec = model.architecture
    weights = _with_untied(model)
    texts = {**_configuration(model, spec, weights), "README.md": card.model_card(model).encode()}
    for name, content in model.files().items():
        pure = PurePosixPath(name)
        outside = pure.is_absolute() or ".." in pure.parts or "\\" in name
        if outside or not any(fnmatch.fnmatch(name, pattern) for pattern in _KEPT):
            raise LabError(f"{model.id} has a file named {name!r}, which does not belong into a model folder")
        texts[name] = content
    told = json.dumps({**card.lineage(model), "architecture": spec}, sort_keys=True, separators=(",", ":"))
    metadata = {"format": "pt", "lineage": told}
    stem = "adapter_model" if is_adapter(model) else "model"
    shards = [sorted(weights)] if is_adapter(model) else plan_shards(weights, max_shard_size)
    with whole_folder(folder) as temporary:
        places: dict[str, str] = {}
        size = 0
        for number, names in enumerate(shards, 1):
            place = f"{stem}-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else f"{stem}.safetensors"
            size += write_tensors(temporary / place, weights, names, metadata)
            places |= dict.fromkeys(names, place)
        if len(shards) > 1:
            index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
            texts[f"{stem}.safetensors.index.json"] = _json(index)
        for name, content in texts.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(content)
    return [folder / name for name in sorted({*texts, *places.values()})]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _configuration(model: Model, spec: Mapping[str, Any] | None, weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    if spec is not None and spec["kind"] == "peft":
        base = base_of(model)
        named = card.hub_name(base) if base is not None else model.labels.get("base_model_name_or_path")
        named = named if isinstance(named, str) and card.HUB_NAME.fullmatch(named) else None
        return {
            "adapter_config.json": _json({**spec["config"], "base_model_name_or_path": named, "inference_mode": True})
        }
    if spec is not None and spec["kind"] == "transformers":
        settings = dict(spec["config"])
        if spec["class"] is not None:
            settings["architectures"] = [spec["class"]]
        dtype = weights_dtype(spec, weights)
        if dtype is not None:  # a child may be of another precision than the parent whose configuration it inherited
            key = "torch_dtype" if "torch_dtype" in settings and "dtype" not in settings else "dtype"
            settings[key] = str(dtype).removeprefix("torch.")
        return {"config.json": _json(settings)}
    return {"heredity.json": _json({"heredity": card.FORMAT, "architecture": spec})}


def _with_untied(model: Model) -> Mapping[str, Tensor]:
    """The weights as a reader expects them: with every shared tensor that the class does not tie by itself."""
    weights, spec = model.weights(), model.architecture
    if spec is None or spec["kind"] != "transformers" or not spec.get("tied"):
        return weights
    import torch

    cls, config = transformers_class(spec)
    with torch.device("meta"):
        parameters = dict(cls(config).named_parameters(remove_duplicate=False))
    untied = {
        alias: weights[kept]
        for alias, kept in spec["tied"].items()
        if alias not in parameters or parameters[alias] is not parameters.get(kept)
    }
    return {**weights, **untied} if untied else weights


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise LabError(f"{folder} is a file; give a folder to export to")
    names = sorted(item.name for item in folder.iterdir())
    if names and not overwrite:
        raise LabError(f"{folder} is not empty; choose another folder, or overwrite=True to replace an earlier export")
    ours = (*_WRITTEN, *_WEIGHTS, *(pattern.partition("/")[0] for pattern in _KEPT))
    for name in names:
        if not any(fnmatch.fnmatch(name, pattern) for pattern in ours):
            raise LabError(f"{folder} holds {name!r}, which no export writes; it is not overwritten")
