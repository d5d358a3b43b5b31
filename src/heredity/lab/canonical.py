"""Writing an operator's configuration down exactly, and reading it back.

The canonical form is JSON: dictionaries with sorted string keys, numbers as Python writes them (floats round-trip
exactly), and tagged objects for nested frozen dataclasses, enums, functions, dtypes and tensors. Two values with equal
canonical form are the same configuration; whatever has no such form is refused by name.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import importlib
import inspect
import json
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from heredity.errors import NotAllowed, NotCanonical

Json: TypeAlias = Any
TensorSink: TypeAlias = Callable[[Any], str]  # stores a tensor as evidence, returns its sha256
TensorSource: TypeAlias = Callable[[str], Any]

_allowed: set[str] = {"heredity", "torch.nn"}
_allowed.update(filter(None, os.environ.get("HEREDITY_ALLOW", "").split(",")))
_known: dict[str, Any] = {}


def dumps(value: Json) -> str:
    """Canonical text of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Json) -> str:
    """SHA-256 of the canonical text, in hexadecimal."""
    return hashlib.sha256(dumps(value).encode()).hexdigest()


def allow(*modules: str) -> None:
    """Permit code of these modules (and their submodules) to be imported when a record names it.

    The environment variable HEREDITY_ALLOW (comma-separated) does the same for the command line.
    """
    _allowed.update(modules)


def register(item: Any) -> None:
    """Let records name a class or function that already lives in this process."""
    _known[import_path(item)] = item


@dataclasses.dataclass(frozen=True)
class Trust:
    """What a worker may import when a record names it: the same as its driver.

    Args:
        main: what the driver's `__main__` is called.
        allowed: modules.
        known: classes and functions by import path; those of a script travel by value.
    """

    main: str
    allowed: frozenset[str]
    known: Mapping[str, Any]

    def take_over(self) -> None:
        """Trust what the driver trusts."""
        global _main  # noqa: PLW0603 - one per process
        _main = self.main
        _allowed.update(self.allowed)
        _known.update(self.known)


def trust_for(*forms: Json) -> Trust:
    """What a worker needs to revive these forms."""
    paths = {path for form in forms for path in code_in(form)}
    known = {path: _known[path] for path in sorted(paths) if path in _known}
    return Trust(_main or main_module(), frozenset(_allowed), known)


def code_in(form: Json) -> Iterator[str]:
    """Import paths that a canonical form or an architecture names."""
    if isinstance(form, list):
        for item in form:
            yield from code_in(item)
    elif isinstance(form, Mapping):
        for key, item in form.items():
            if key in ("$type", "$enum", "$code", "path") and isinstance(item, str):
                yield item
            else:
                yield from code_in(item)


@cache
def main_module() -> str:
    """The name by which the script that runs as `__main__` would be imported."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


_main: str | None = None


def import_path(item: Any) -> str:
    """`module:qualname` of a class or function; a script run as `__main__` is named as its import would be."""
    module = item.__module__
    if module in ("__main__", "__mp_main__"):
        module = _main or main_module()
    return f"{module}:{item.__qualname__}"


def import_item(path: str) -> Any:
    """The class or function that a record names.

    Raises:
        NotAllowed: its module is not on the allow-list, or does not itself define it.
    """
    if path in _known:
        return _known[path]
    module, _, qualname = path.partition(":")
    if not any(module == name or module.startswith(name + ".") for name in _allowed):
        raise NotAllowed(
            f"the record names {path!r}, whose module is not on the allow-list; if you trust it: "
            f"heredity.lab.allow({module!r}) or HEREDITY_ALLOW={module}"
        )
    try:
        item: Any = importlib.import_module(module)
        for part in qualname.split("."):
            item = getattr(item, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise NotAllowed(f"the record names {path!r}, which cannot be imported here: {error}") from error
    # What an allowed module merely imports (os.system, through its `os`) is not allowed by that.
    if getattr(item, "__module__", None) != module or getattr(item, "__qualname__", None) != qualname:
        raise NotAllowed(f"the record names {path!r}, which that module does not define")
    return item


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except (NameError, TypeError, AttributeError):
        return {}  # hints that exist only for the type checker say nothing here


def _as_declared(value: Any, hint: Any) -> Any:
    """An int where a float is declared becomes a float, so that 1 and 1.0 are one key; so inside tuples and dicts."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _as_declared(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        if _whole(value):
            return float(value) if float in arguments and int not in arguments else value
        containers = [option for option in arguments if typing.get_origin(option) not in (None, typing.Literal)]
        return _as_declared(value, containers[0]) if len(containers) == 1 else value
    if hint is float and _whole(value):
        return float(value)
    if isinstance(value, (tuple, list)) and arguments and isinstance(origin, type) and issubclass(origin, Sequence):
        if origin is tuple and arguments[-1] is not Ellipsis:
            return [_as_declared(*pair) for pair in zip(value, arguments, strict=False)] + list(value[len(arguments) :])
        return [_as_declared(item, arguments[0]) for item in value]
    if isinstance(value, Mapping) and len(arguments) == 2:
        return {key: _as_declared(item, arguments[1]) for key, item in value.items()}
    return value


def _whole(value: Any) -> bool:
    return isinstance(value, (int, _numpy_integer())) and not isinstance(value, (bool, enum.Enum))


def _numpy_integer() -> tuple[type, ...]:
    numpy = sys.modules.get("numpy")
    return (numpy.integer,) if numpy is not None else ()


def _as_list(value: Any, hint: Any) -> Any:
    """A revived tuple as the list that the field declares."""
    options = [hint, *typing.get_args(hint)] if isinstance(hint, types.UnionType) else [hint]
    listed = any(option is list or typing.get_origin(option) is list for option in options)
    return list(value) if listed and isinstance(value, tuple) else value


def canonical(value: Any, where: str, store: TensorSink | None = None) -> Json:
    """The canonical JSON of a value.

    Args:
        value: None, bool, int, float, str, bytes, enum, tuple, list, dict with string keys, frozen dataclass,
            module-level function or class, torch dtype, tensor or array (kept as evidence through `store`).
        where: what to call the value in an error, e.g. "Finetune.data".

    Raises:
        NotCanonical: a part has no exact form; the message names it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        register(type(value))
        return {"$enum": import_path(type(value)), "name": value.name}
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            raise NotCanonical(f"{where} is NaN, which equals nothing, not even itself; give a number")
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, (tuple, list)):
        return [canonical(item, f"{where}[{i}]", store) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _mapping(value, where, store)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclass_form(value, where, store)
    if isinstance(value, PurePath):
        raise NotCanonical(
            f"{where} is a path ({value}); a path says nothing about what the file holds: pass the content "
            "(a tensor, a text), or a frozen dataclass with a fingerprint() of it"
        )
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
        return _named_code(value, where)
    return _array_or_refuse(value, where, store)


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotCanonical(f"{where} is a text that is not valid Unicode: {error.reason}") from None
    return str(value)


def _mapping(value: Mapping[Any, Any], where: str, store: TensorSink | None) -> Json:
    for key in value:
        if not isinstance(key, str) or key.startswith("$"):
            raise NotCanonical(f"{where} has the key {key!r}; keys must be strings that do not start with '$'")
    return {key: canonical(item, f"{where}[{key!r}]", store) for key, item in value.items()}


def dataclass_form(value: Any, where: str, store: TensorSink | None = None) -> dict[str, Json]:
    """The tagged form of a frozen dataclass; an optional `fingerprint()` adds the hash of what it stands for.

    A field declared with metadata={"identity": False} (where a file lies, how large a batch is) stays out of the form;
    it needs a default.
    """
    cls: Any = type(value)
    parameters = vars(cls).get("__dataclass_params__")
    if parameters is None:
        raise NotCanonical(f"{where} is {cls.__name__}, no dataclass; decorate it with @dataclass(frozen=True)")
    if not parameters.frozen:
        raise NotCanonical(f"{where} is {cls.__name__}, a dataclass that can change; declare it frozen=True")
    register(cls)
    hints = _hints(cls)
    fields = {}
    for field in dataclasses.fields(value):
        if not field.init or not field.metadata.get("identity", True):
            continue
        item = _as_declared(getattr(value, field.name), hints.get(field.name))
        fields[field.name] = canonical(item, f"{where}.{field.name}", store)
    form: dict[str, Json] = {"$type": import_path(cls), "fields": fields}
    fingerprint = getattr(value, "fingerprint", None)
    if callable(fingerprint):
        form["fingerprint"] = str(fingerprint())
    return form


def _named_code(value: Any, where: str) -> Json:
    if "<" in value.__qualname__:
        raise NotCanonical(
            f"{where} is {value.__qualname__}, which has no import path; define it at the top level of a module"
        )
    if isinstance(value, types.BuiltinFunctionType) and not value.__module__:
        raise NotCanonical(f"{where} is {value.__qualname__}, bound to an object; use a module-level function")
    register(value)
    return {"$code": import_path(value)}


def _array_or_refuse(value: Any, where: str, store: TensorSink | None) -> Json:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return canonical(value.item(), where, store)
    if torch is not None and isinstance(value, torch.dtype):
        return {"$dtype": str(value).removeprefix("torch.")}
    is_tensor = torch is not None and isinstance(value, torch.Tensor)
    is_array = numpy is not None and isinstance(value, numpy.ndarray) and value.dtype != object
    if (is_tensor or is_array) and store is not None:
        try:
            return {"$tensor" if is_tensor else "$array": store(value)}
        except TypeError as error:
            raise NotCanonical(f"{where} is an array that cannot be kept as evidence: {error}") from None
    hint = "use a sorted tuple" if isinstance(value, (set, frozenset)) else "use a frozen dataclass"
    raise NotCanonical(
        f"{where} is {type(value).__module__}.{type(value).__qualname__}, which has no exact form; {hint}"
    )


def revive(form: Json, load: TensorSource | None = None) -> Any:
    """The value whose canonical form this is. Lists come back as tuples.

    Raises:
        NotAllowed: it names code outside the allow-list.
        NotCanonical: it has an unknown tag, or a fingerprint that no longer matches.
    """
    if isinstance(form, list):
        return tuple(revive(item, load) for item in form)
    if not isinstance(form, dict):
        return form
    tags = [key for key in form if key.startswith("$")]
    if not tags:
        return {key: revive(item, load) for key, item in form.items()}
    return _revive_tagged(tags[0], form, load)


def _revive_tagged(tag: str, form: dict[str, Json], load: TensorSource | None) -> Any:
    content = form[tag]
    if tag == "$type":
        cls = import_item(content)
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise NotAllowed(f"the record names {content!r} as a configuration, but it is no dataclass")
        hints = _hints(cls)
        fields = {name: _as_list(revive(item, load), hints.get(name)) for name, item in form["fields"].items()}
        try:
            value: Any = cls(**fields)
        except (TypeError, ValueError) as error:
            raise NotCanonical(f"the recorded fields do not fit today's {content}: {error}") from error
        recorded = form.get("fingerprint")
        if recorded is not None and str(getattr(value, "fingerprint", str)()) != recorded:
            raise NotCanonical(
                f"{content} no longer stands for the same evidence: its fingerprint differs from the record"
            )
        return value
    if tag == "$enum":
        options = import_item(content)
        if form["name"] not in getattr(options, "__members__", ()):
            raise NotCanonical(f"the record names {content}.{form['name']}, which is no member of an enum here")
        return options[form["name"]]
    if tag == "$code":
        return import_item(content)
    if tag == "$float":
        return float(content)
    if tag == "$bytes":
        return bytes.fromhex(content)
    if tag == "$dtype":
        import torch

        return getattr(torch, content)
    if tag in ("$tensor", "$array") and load is not None:
        tensor = load(content)
        return tensor if tag == "$tensor" else tensor.numpy()
    raise NotCanonical(f"the record has the unknown form {tag!r}; it may come from a newer version of Heredity")


@cache
def source_hash(cls: type) -> str | None:
    """SHA-256 of a class's source text; None where no source is at hand (an interactive session)."""
    try:
        return hashlib.sha256(inspect.getsource(cls).encode()).hexdigest()
    except (OSError, TypeError):
        return None
