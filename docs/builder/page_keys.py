"""Keys of the lineage page, from the script that listens to them."""

from __future__ import annotations

import re
from importlib import resources

from builder.markdown import table

_KEY = re.compile(r'\[\s*"([^"]+)",\s*"([^"]+)",')


def section_page_keys() -> str:
    """Key and meaning."""
    source = resources.files("heredity.page").joinpath("web", "listen.js").read_text(encoding="utf-8")
    block = re.search(r"^const KEYS = \[\n(.*?)^\];", source, re.MULTILINE | re.DOTALL)
    found = _KEY.findall(block[1]) if block else []
    if not found:
        raise ValueError("the page's script names no keys (const KEYS in listen.js)")
    return table(("key", "what it does"), [[f"`{key}`", meaning] for key, meaning in found])
