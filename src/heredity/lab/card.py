"""A model's lineage as plain data, and the model card that tells it: front matter for the Hugging Face hub, then text.

The hub draws its tree from `base_model`, which must be hub names. Local steps in between have none, so the nearest
ancestors that do are named there, and the whole truth stands in the `lineage` block and in the text.
Source: the hub's model card metadata (`base_model`, `base_model_relation`, `library_name`, `tags`, `metrics`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heredity.evaluation.outcome import Ok
from heredity.lab.architecture import base_of, is_adapter
from heredity.lab.operator import short_name
from heredity.lab.steps import IMPORT, STEP

if TYPE_CHECKING:
    from heredity.lab.model import Model

FORMAT = 1  # of the lineage block
HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_STORY = 40  # steps told in the card; the metadata always hold the whole path


def hub_name(model: Model) -> str | None:
    """The name on the Hugging Face hub that a model's labels state (`hub`, or a `source` such as hf://org/name).

    A `source` of the bare form org/name may just as well be a folder, and counts for nothing.
    """
    hub = model.labels.get("hub")
    if isinstance(hub, str) and HUB_NAME.fullmatch(hub):
        return hub
    source = re.match(r"(?:hf://|https://huggingface\.co/)([^/@]+/[^/@]+)", str(model.labels.get("source", "")))
    return source[1] if source and HUB_NAME.fullmatch(source[1]) else None


def base_models(model: Model) -> list[str]:
    """Hub names of the nearest ancestors that have one: past local parents, mates and bases; teachers do not count.

    Of an adapter, it is the model it sits on. A model that is itself a copy from the hub names that.
    """
    own = hub_name(model)
    if own is not None:
        return [own]
    found: dict[str, None] = {}
    seen: set[str] = set()
    base = base_of(model) if is_adapter(model) else None
    waiting = [model] if base is None else [base]
    while waiting:
        current = waiting.pop(0)
        name = hub_name(current)
        if name is not None:
            found[name] = None
        elif current.id not in seen:
            seen.add(current.id)
            known = _lineage_label(current).get("base_models", [])  # of a file that came from another lab
            found.update(dict.fromkeys(item for item in known if HUB_NAME.fullmatch(item)))
            waiting += [parent for role, parent in current.edges if role in ("parent", "mate", "base")]
    return list(found)


def relation(model: Model, bases: list[str]) -> str | None:
    """The hub's word for how a model comes from its base models; None where there are none, or it is a copy."""
    if not bases or hub_name(model) is not None:
        return None
    if is_adapter(model):
        return "adapter"
    return "merge" if model.kind in ("merge", "crossover") or len(bases) > 1 else "finetune"


def lineage(model: Model) -> dict[str, Any]:
    """Identity, operator, parents with roles, and the path from the root, as JSON values.

    What an imported file said about its life in another lab stands at the beginning of the path.
    """
    path = model.path()
    earlier = [step for step in _lineage_label(path[0]).get("path", []) if step["id"] != path[0].id]
    return {
        "heredity": FORMAT,
        "id": model.id,
        "key": model.key,
        "weights_sha256": model.weights_sha256,
        "kind": model.kind,
        "operator": dict(model.operator),
        "seed": model.seed,
        "parents": [{"role": role, **_step(parent)} for role, parent in model.edges],
        "path": [*earlier, *map(_step, path)],
        "base_models": base_models(model),
    }


def _lineage_label(model: Model) -> Mapping[str, Any]:
    """What an exported file said of itself when it was imported (checked then)."""
    label = model.labels.get("lineage")
    return label if isinstance(label, Mapping) and label.get("heredity") == FORMAT else {}


def _step(model: Model) -> dict[str, Any]:
    """One birth on a path; names and hub names only where there are some."""
    step = {
        "id": model.id,
        "kind": model.kind,
        "operator": model.operator["type"],
        "version": model.operator["version"],
        "seed": model.seed,
        "weights_sha256": model.weights_sha256,
    }
    return step | {key: value for key, value in (("name", model.name), ("hub", hub_name(model))) if value}


# The card


def model_card(model: Model) -> str:
    """The text of README.md: the same record gives the same bytes."""
    import yaml

    bases = base_models(model)
    how = relation(model, bases)
    told = lineage(model)
    measured = dict(sorted(model.measurements.items()))
    values = {probe: dict(outcome.values) for probe, outcome in measured.items() if isinstance(outcome, Ok)}
    front: dict[str, Any] = {
        **({"base_model": bases[0] if len(bases) == 1 else bases} if bases else {}),
        **({"base_model_relation": how} if how else {}),
        "library_name": {"transformers": "transformers", "peft": "peft"}.get(_kind(model), "heredity"),
        "tags": list(dict.fromkeys(["heredity", model.kind, *([how] if how else [])])),
        **({"metrics": sorted({metric for named in values.values() for metric in named})} if values else {}),
        "lineage": {
            **told,
            "path": [step["id"] for step in told["path"]],
            **({"measurements": values} if values else {}),
        },
    }
    # One line per text: a folded one could put a line of dashes where a reader looks for the end of the block.
    matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=False, width=2**31)
    title = model.name or f"{short_name(model.operator['type'])} {model.id[:8]}"
    sections = [
        [f"# {title if re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9 .-]*', title) else code(title)}", "", _what(model)],
        ["## How it came about", "", *_story(told["path"], model)],
        _parents(model),
        _measurements(measured),
        ["## Loading", "", *_loading(model)],
        ["## Verifying and rebuilding", "", *_verifying(model)],
    ]
    body = "\n\n".join("\n".join(section) for section in sections if section)
    return f"---\n{matter}---\n\n{body}\n"


def code(text: object) -> str:
    """A text as a Markdown code span on one line, whatever it holds; usable in tables."""
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split()) or " "
    fence = "`" * (max(map(len, re.findall("`+", plain)), default=0) + 1)
    gap = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{gap}{plain}{gap}{fence}".replace("|", r"\|")


def _kind(model: Model) -> str:
    return (model.architecture or {}).get("kind", "")


def _what(model: Model) -> str:
    spec = model.architecture or {}
    what = {
        "transformers": f"A transformers model ({code(spec.get('class') or 'AutoModel')})",
        "peft": f"A peft adapter ({code(spec.get('config', {}).get('peft_type', 'of unknown type'))})",
        "class": f"A PyTorch model ({code(spec.get('path'))})",
    }.get(_kind(model), "Weights of a PyTorch model whose architecture was not recorded")
    return f"{what}, {model.record['bytes']:,} bytes of weights, birth {code(model.id)} in a Heredity lab."


def _story(path: list[dict[str, Any]], model: Model) -> list[str]:
    born = {ancestor.id: ancestor for ancestor in model.path()}
    lines = []
    for number, step in enumerate(path, 1):
        if 8 < number <= len(path) - (_STORY - 8) and len(path) > _STORY:
            if number == 9:
                left_out = len(path) - _STORY
                lines.append(f"   - … {left_out} births more, listed in the metadata of the weights' file.")
            continue
        called = f"{code(step['name'])}, " if "name" in step else ""
        lines.append(f"{number}. {called}{code(step['id'])}: {_deed(step, born.get(step['id']), first=number == 1)}")
    return lines


def _deed(step: Mapping[str, Any], birth: Model | None, *, first: bool) -> str:
    """What happened in one step; of a birth from another lab no more is known than the file said."""
    elsewhere = "" if birth is not None else ", in another lab"
    if step["operator"] == IMPORT:
        hub = str(step.get("hub", ""))
        origin = f" from [{hub}](https://huggingface.co/{hub})" if HUB_NAME.fullmatch(hub) else ""
        revision = birth.labels.get("revision") if birth is not None else None
        deed = (
            f"recorded as it came{origin}{f' at revision {code(revision)}' if revision and origin else ''}{elsewhere}"
        )
    else:
        config = birth.operator["config"] if birth is not None else {}
        what = config.get("name", "Step") if step["operator"] == STEP else short_name(step["operator"])
        deed = f"{code(what)} ({code(step['kind'])}, seed {code(step.get('seed'))}){elsewhere}"
        if config:
            text = json.dumps(config, sort_keys=True, ensure_ascii=False)
            deed += f" with {code(text if len(text) <= 400 else text[:399] + '…')}"
    others = birth.edges[1:] if birth is not None and not first else []
    return deed + "".join(f"; {code(role)} {code(parent.id)}" for role, parent in others) + "."


def _parents(model: Model) -> list[str]:
    if not model.edges:
        return []
    rows = [
        f"| {role} | {code(parent.name or short_name(parent.operator['type']))} | {code(parent.id)} "
        f"| {code(parent.weights_sha256)} |"
        for role, parent in ((code(role), parent) for role, parent in model.edges)
    ]
    return ["## Parents", "", "| role | model | birth | SHA-256 of the weights |", "|---|---|---|---|", *rows]


def _measurements(measured: Mapping[str, Any]) -> list[str]:
    rows = []
    for probe, outcome in measured.items():
        if isinstance(outcome, Ok):
            rows += [
                f"| {code(probe)} | {code(name)} | {value:.6g} |" for name, value in sorted(outcome.values.items())
            ]
        else:
            rows.append(f"| {code(probe)} | failed | {code(outcome.reason)} |")
    return ["## Measurements", "", "| probe | metric | value |", "|---|---|---|", *rows] if rows else []


def _loading(model: Model) -> list[str]:
    here = '"path/to/this/folder"'
    spec = model.architecture or {}
    if spec.get("kind") == "transformers":
        cls = _class_of(model)
        return [f"```python\nfrom transformers import {cls}\n\nmodel = {cls}.from_pretrained({here})\n```"]
    if spec.get("kind") == "peft":
        base = base_of(model)
        cls = _class_of(base) if base is not None and _kind(base) == "transformers" else "AutoModel"
        name = (hub_name(base) if base is not None else None) or "path/to/the/base/model"
        lines = [f"```python\nfrom peft import PeftModel\nfrom transformers import {cls}\n"]
        lines += [f'base = {cls}.from_pretrained("{name}")\nmodel = PeftModel.from_pretrained(base, {here})\n```']
        if base is not None:
            lines += ["", f"The base has the weights {code(base.weights_sha256)} (birth {code(base.id)})."]
        return lines
    if spec.get("kind") == "class":
        module = str(spec["path"]).partition(":")[0]
        lines = [f"Where {code(module)} can be imported, and after `heredity.lab.canonical.allow` of it:", ""]
        return [*lines, f"```python\nimport heredity as hd\n\nmodule = hd.Lab('lab').add({here}).load()\n```"]
    return [f"```python\nimport heredity as hd\n\nhd.Lab('lab').add({here}).load(into=your_module)\n```"]


def _class_of(model: Model) -> str:
    """A name that is safe to print as code."""
    name = (model.architecture or {}).get("class")
    return name if isinstance(name, str) and name.isidentifier() and name.isascii() else "AutoModel"


def _verifying(model: Model) -> list[str]:
    lines = [
        "Adding this folder to a lab compares the weights with the hash in their file, and fails where they differ:",
        "",
        "```python",
        "import heredity as hd",
        "",
        'copy = hd.Lab("lab").add("path/to/this/folder")',
        f'assert copy.weights_sha256 == "{model.weights_sha256}"',
        "```",
        "",
    ]
    if model.operator["type"] in (IMPORT, STEP) or not model.record.get("deterministic", True):
        return [*lines, "Its birth cannot be run again from the record: these weights are the record."]
    return [
        *lines,
        "In the lab where it was born, this runs its birth again and compares the result with the same hash:",
        "",
        "```python",
        f'hd.Lab("lab", mode="r").rebuild("{model.id}")',
        "```",
    ]
