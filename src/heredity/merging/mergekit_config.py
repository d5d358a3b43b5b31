"""mergekit's YAML, read as it is and checked without looking at any model; torch is not imported.

Source: the configuration format of mergekit 0.1 (README, "Merge Configuration").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from heredity.errors import RecipeError
from heredity.merging.mergekit_schema import (
    KNOWN_PARAMETERS,
    Condition,
    MergeConfig,
    ModelRef,
    Scalar,
    Setting,
    Slice,
    Source,
    TokenizerConfig,
    TokenSource,
    unknown,
)

_TOP_KEYS = (
    "models",
    "slices",
    "modules",
    "merge_method",
    "base_model",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer",
    "tokenizer_source",
    "chat_template",
)
_DTYPES = ("float16", "bfloat16", "float32")


class _UniqueLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path) -> MergeConfig:
    """Read a configuration file. Raises RecipeError naming key and place."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{file} is not UTF-8 text") from None
    return parse_config(text, origin=str(file))


def parse_config(text: str, *, origin: str = "configuration") -> MergeConfig:
    """Check a configuration and turn it into a `MergeConfig`.

    Args:
        text: the YAML document.
        origin: what to call it in messages.

    Raises:
        RecipeError: a key is unknown or missing, a value has the wrong type, or a form is not supported.
    """
    try:
        documents = list(yaml.load_all(text, Loader=_UniqueLoader))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{origin}{line}: {error.problem or 'not valid YAML'}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{origin} is not valid YAML: {str(error).splitlines()[0]}") from None
    if len(documents) > 1:
        raise RecipeError(
            f"{origin} holds {len(documents)} YAML documents; multi-stage merges are not supported, "
            "run one document at a time and name each output folder in the next"
        )
    return _Parser(origin).config(documents[0] if documents else None, text)


class _Parser:
    def __init__(self, origin: str) -> None:
        self.origin = origin

    def fail(self, where: str, problem: str) -> RecipeError:
        return RecipeError(f"{self.origin}: {where} {problem}")

    def mapping(self, value: Any, where: str, known: Sequence[str], required: Sequence[str] = ()) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(where, f"should be a mapping, it is {_kind(value)}")
        for key in value:
            if key not in known:
                raise unknown("key", str(key), f"{self.origin}: {where}", known)
        for key in required:
            if value.get(key) is None:
                raise self.fail(where, f"needs {key!r}")
        return value

    def sequence(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise self.fail(where, f"should be a non-empty list, it is {_kind(value)}")
        return value

    def config(self, value: Any, text: str) -> MergeConfig:
        top = self.mapping(
            value,
            "the document",
            _TOP_KEYS,
            ("merge_method",),
        )
        if not isinstance(top["merge_method"], str):
            raise self.fail("merge_method", f"should be a name, it is {_kind(top['merge_method'])}")
        given = [key for key in ("models", "slices", "modules") if top.get(key)]
        if len(given) != 1:
            raise self.fail(
                "the document", f"needs exactly one of models, slices and modules, it has {given or 'none'}"
            )
        body, module_parameters = top, {}
        if top.get("modules"):
            body = self.module(top["modules"])
            module_parameters = self.parameters(body.get("parameters"), "modules.*.parameters")
        if top.get("tokenizer") is not None and top.get("tokenizer_source") is not None:
            raise self.fail("the document", "has both tokenizer and tokenizer_source; keep one")
        base = top.get("base_model")
        return MergeConfig(
            method=top["merge_method"],
            models=tuple(
                self.source(item, f"models[{i}]", layers=False)
                for i, item in enumerate(self.sequence(body["models"], "models") if body.get("models") else ())
            ),
            slices=tuple(
                self.slice(item, f"slices[{i}]")
                for i, item in enumerate(self.sequence(body["slices"], "slices") if body.get("slices") else ())
            ),
            base_model=None if base is None else self.model(base, "base_model"),
            parameters=self.parameters(top.get("parameters"), "parameters"),
            module_parameters=module_parameters,
            dtype=self.dtype(top.get("dtype"), "dtype"),
            out_dtype=self.dtype(top.get("out_dtype"), "out_dtype"),
            tokenizer=self.tokenizer(top),
            chat_template=self.text_or_none(top.get("chat_template"), "chat_template"),
            text=text,
            origin=self.origin,
        )

    def module(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) != 1:
            raise self.fail("modules", "names several modules; only models of one module are supported")
        ((name, body),) = value.items()
        body = self.mapping(body, f"modules.{name}", ("models", "slices", "parameters"))
        if bool(body.get("models")) == bool(body.get("slices")):
            raise self.fail(f"modules.{name}", "needs exactly one of models and slices")
        return body

    def source(self, value: Any, where: str, *, layers: bool) -> Source:
        known = ("model", "layer_range", "parameters") if layers else ("model", "parameters")
        item = self.mapping(value, where, known, known[:-1])
        extent = self.layer_range(item["layer_range"], f"{where}.layer_range") if layers else None
        model = self.model(item["model"], f"{where}.model")
        return Source(model, extent, self.parameters(item.get("parameters"), f"{where}.parameters"))

    def layer_range(self, value: Any, where: str) -> tuple[int, int]:
        good = isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)
        if not good or not 0 <= value[0] < value[1]:
            raise self.fail(where, f"should be [first, end) with 0 <= first < end, it is {value!r}")
        return value[0], value[1]

    def slice(self, value: Any, where: str) -> Slice:
        item = self.mapping(value, where, ("sources", "base_model", "parameters", "residual_weight"), ("sources",))
        if item.get("residual_weight") is not None:
            raise self.fail(f"{where}.residual_weight", "is not supported")
        sources = tuple(
            self.source(source, f"{where}.sources[{i}]", layers=True)
            for i, source in enumerate(self.sequence(item["sources"], f"{where}.sources"))
        )
        spans = [source.layers[1] - source.layers[0] for source in sources if source.layers]
        if len(set(spans)) > 1:
            raise self.fail(where, f"should take as many layers from every source, they give {spans}")
        base = item.get("base_model")
        return Slice(
            sources,
            None if base is None else self.model(base, f"{where}.base_model"),
            self.parameters(item.get("parameters"), f"{where}.parameters"),
        )

    def model(self, value: Any, where: str) -> ModelRef:
        if isinstance(value, dict):
            item = self.mapping(value, where, ("model", "lora", "override_architecture"), ("model",))
            parts = [self.path(item[key], f"{where}.{key}") for key in ("model", "lora") if item.get(key) is not None]
        elif isinstance(value, str):
            parts = [self.path(part, where) for part in value.split("+")]
        else:
            raise self.fail(where, f"should name a model, it is {_kind(value)}")
        if len(parts) > 2:
            raise self.fail(where, f"should be model or model+lora, it is {value!r}")
        return ModelRef(*parts[0], *(parts[1] if len(parts) == 2 else (None, None)))

    def path(self, value: Any, where: str) -> tuple[str, str | None]:
        if isinstance(value, dict):
            item = self.mapping(value, where, ("path", "revision"), ("path",))
            return str(item["path"]), None if item.get("revision") is None else str(item["revision"])
        path, _, revision = str(value).strip().partition("@")
        if not path or "@" in revision:
            raise self.fail(where, f"should be path or path@revision, it is {value!r}")
        return path, revision or None

    def parameters(self, value: Any, where: str) -> dict[str, Setting]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail(where, f"should be a mapping, it is {_kind(value)}")
        for key in value:
            if key not in KNOWN_PARAMETERS:
                raise unknown("key", str(key), f"{self.origin}: {where}", KNOWN_PARAMETERS)
        return {key: self.setting(item, f"{where}.{key}") for key, item in value.items() if item is not None}

    def setting(self, value: Any, where: str) -> Setting:
        items = [value] if isinstance(value, dict) else value
        if not isinstance(items, list):
            return self.scalar(items, where)
        if not items:
            raise self.fail(where, "is an empty list")
        if not any(isinstance(item, dict) for item in items):
            return tuple(self.scalar(item, f"{where}[{i}]") for i, item in enumerate(items))
        conditions = []
        for i, item in enumerate(items):
            place = f"{where}[{i}]"
            entry = self.mapping(item, place, ("filter", "value"), ("value",))
            inner = entry["value"]
            if isinstance(inner, list):
                if not inner:
                    raise self.fail(f"{place}.value", "is an empty list")
                inner = tuple(self.scalar(part, f"{place}.value[{j}]") for j, part in enumerate(inner))
            else:
                inner = self.scalar(inner, f"{place}.value")
            conditions.append(Condition(inner, self.text_or_none(entry.get("filter"), f"{place}.filter")))
        return tuple(conditions)

    def scalar(self, value: Any, where: str) -> Scalar:
        if isinstance(value, str):
            try:
                value = float(value)  # YAML 1.1 reads 1e-3 as text
            except ValueError:
                raise self.fail(where, f"should be a number, it is {value!r}") from None
        if not isinstance(value, int | float):
            raise self.fail(where, f"should be a number, it is {_kind(value)}")
        if not math.isfinite(value):
            raise self.fail(where, f"is {value}")
        return value

    def dtype(self, value: Any, where: str) -> str | None:
        name = self.text_or_none(value, where)
        if name is None:
            return None
        name = name.removeprefix("torch.")
        if name not in _DTYPES:
            raise unknown("dtype", name, f"{self.origin}: {where}", _DTYPES)
        return name

    def text_or_none(self, value: Any, where: str) -> str | None:
        if value is None or isinstance(value, str):
            return value
        raise self.fail(where, f"should be text, it is {_kind(value)}")

    def tokenizer(self, top: dict[str, Any]) -> TokenizerConfig | None:
        if top.get("tokenizer_source") is not None:
            return TokenizerConfig(self.vocabulary(top["tokenizer_source"], "tokenizer_source"))
        if top.get("tokenizer") is None:
            return None
        item = self.mapping(top["tokenizer"], "tokenizer", ("source", "tokens", "pad_to_multiple_of"))
        pad = item.get("pad_to_multiple_of")
        if pad is not None and (type(pad) is not int or pad < 1):
            raise self.fail("tokenizer.pad_to_multiple_of", f"should be a positive whole number, it is {pad!r}")
        tokens = item.get("tokens") or {}
        if not isinstance(tokens, dict):
            raise self.fail("tokenizer.tokens", f"should be a mapping, it is {_kind(tokens)}")
        return TokenizerConfig(
            self.vocabulary(item.get("source", "union"), "tokenizer.source"),
            {str(token): self.token(value, f"tokenizer.tokens.{token}") for token, value in tokens.items()},
            pad,
        )

    def vocabulary(self, value: Any, where: str) -> ModelRef | Literal["union", "base"]:
        if value == "union":
            return "union"
        return "base" if value == "base" else self.model(value, where)

    def token(self, value: Any, where: str) -> TokenSource:
        item = self.mapping(value or {}, where, ("source", "force"))
        source, force = item.get("source"), bool(item.get("force", False))
        if source is None:
            return TokenSource(force=force)
        kind = source.get("kind") if isinstance(source, dict) else None
        if kind == "zero":
            return TokenSource("zero", force=force)
        if kind is None:
            return TokenSource("model", self.model(source, f"{where}.source"), force=force)
        if kind != "model_token":
            raise unknown("kind", str(kind), f"{self.origin}: {where}.source", ("zero", "model_token"))
        part = self.mapping(source, f"{where}.source", ("kind", "model", "token", "token_id"), ("model",))
        token, token_id = part.get("token"), part.get("token_id")
        if (token is None) == (token_id is None):
            raise self.fail(f"{where}.source", "needs exactly one of token and token_id")
        return TokenSource("model_token", self.model(part["model"], f"{where}.source.model"), token, token_id, force)


def _kind(value: Any) -> str:
    return "missing" if value is None else f"{type(value).__name__} {value!r}"[:80]
