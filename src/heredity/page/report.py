"""The page as one file: markup, style, script and, in a report, the data, with a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import LabError
from heredity.page.compact import compact_script, compact_style
from heredity.page.data import LabReader, to_json
from heredity.page.names import private_names

if TYPE_CHECKING:
    from heredity.lab import Lab


@cache
def _asset(name: str) -> str:
    return resources.files("heredity.page").joinpath("web", name).read_text(encoding="utf-8")


@cache
def style() -> str:
    """The style sheet."""
    return compact_style(_asset("page.css"))


@cache
def script() -> str:
    """All script files in one scope; they hold declarations only, but for main.js, which comes last."""
    folder = resources.files("heredity.page").joinpath("web")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".js") and file.name != "main.js")
    whole = "\n".join(_asset(name) for name in [*names, "main.js"])
    whole = '(() => {\n"use strict";\n' + whole + "})();\n"
    return compact_script(whole, private_names(whole))


def policy(*, live: bool) -> str:
    """The content security policy: this script, this style, and, live, the server the page came from."""
    sources = {
        "default-src": "'none'",
        "script-src": _hash(script()),
        "style-src": _hash(style()),
        "img-src": "data: blob:",
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {source}" for name, source in sources.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(content: dict[str, Any], *, live: bool = False) -> str:
    """The whole HTML document around its data."""
    parts = {"POLICY": policy(live=live), "STYLE": style(), "DATA": to_json(content), "SCRIPT": script()}
    # Split before filling in: what a lab holds may look like a mark.
    pieces = re.split(r"\[\[([A-Z]+)\]\]", _asset("page.html"))
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def report(lab: Lab) -> str:
    """A self-contained page of everything the lab holds now."""
    reader = LabReader(lab)
    return page({"about": reader.about(), "chunks": [reader.read()]})


def write_report(lab: Lab, path: Path) -> int:
    """Write a lab's report; returns its size in bytes.

    Raises:
        LabError: the file cannot be written.
    """
    content = report(lab).encode()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise LabError(f"cannot write the report to {path}: {error.strerror}; choose another file with -o") from error
    return len(content)
