"""The page's scripts and style with comments and needless space taken out, and the most frequent names shortened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*|/\*.*?\*/)+)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[\w$]+)
      | (?P<mark>[`{}/]|[^\s\w$"'`{}/])""",
    re.VERBOSE | re.DOTALL,
)
_REGEX = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
_TEMPLATE = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*(?P<end>`|\$\{)", re.DOTALL)
_BEFORE_REGEX = set("(,=:[!&|?{};+-*%<>~^") | {"return", "typeof", "case", "in", "of"}
# Said hundreds of times: a keyword with a shorter synonym, and names that nothing outside the script knows.
SHORTER = {"const": "let"}
SHORTER |= {"birth": "B", "edgesOf": "E", "forest": "F", "item": "I", "layout": "L", "members": "M", "offspring": "O"}
SHORTER |= {"byBirth": "G", "children": "C", "modelLink": "D", "parent": "A"}
SHORTER |= {"primary": "P", "picked": "Q", "radius": "R", "rank": "K", "setState": "S", "titleOf": "T", "valueOf": "V"}
_OPEN = set("{([;,:?=<>&|!*%^~.+-")  # behind these, and before those, a statement cannot end
_CLOSING = set(")];,:?.=&|<>*%^")


class Token(NamedTuple):
    """A piece of a script: `opening` is what tells its kind; a piece of a template ends where code begins again."""

    text: str
    opening: str
    word: bool
    gap: str  # what stood before it: nothing, a space or a line end


def tokens(source: str) -> Iterator[Token]:
    """The pieces of a script without comments. Division, regular expressions, strings and nested templates are told
    apart; what is inside them stays as it is."""
    templates: list[int] = []  # depth of braces at which each open ${ began
    depth, place, last, gap = 0, 0, "", ""
    while place < len(source):
        token = _TOKEN.match(source, place)
        assert token is not None
        text, place = token[0], token.end()
        if token["space"]:
            gap = "\n" if "\n" in text or gap == "\n" else " "
            continue
        if text == "/" and (not last or last in _BEFORE_REGEX):
            regex = _REGEX.match(source, token.start())
            assert regex is not None, source[token.start() : token.start() + 40]
            text, place = regex[0], regex.end()
        opening = text
        if text == "{":
            depth += 1
        elif text == "}" and templates and templates[-1] == depth:
            templates.pop()
            text, place, depth = _template(source, place, text, templates, depth)
        elif text == "}":
            depth -= 1
        elif text == "`":
            text, place, depth = _template(source, place, text, templates, depth)
        yield Token(text, opening, bool(token["word"]), gap)
        last, gap = text if token["word"] or len(text) == 1 else text[-1] if opening in "`}" else "x", ""


def compact_script(source: str, names: Mapping[str, str] | None = None) -> str:
    """A script without comments and needless space.

    Args:
        names: further words to be shortened, see `heredity.page.names.private_names`.

    Line ends stay wherever a statement could end there.

    >>> compact_script("const a = b / 2;  // half\\nlet c = /[/ ]+/.test(`x ${a  +  1} y`);")
    'let a=b/2;let c=/[/ ]+/.test(`x ${a+1} y`);'
    """
    shorter = {**SHORTER, **(names or {})}
    out: list[str] = []
    last = ""
    for token in tokens(source):
        text = shorter.get(token.text, token.text) if token.word else token.text
        if token.opening == "}" and out[-1] in (";", ","):
            out.pop()
        out += [_between(last, token.opening, token.gap), text]
        last = text if token.word or len(text) == 1 else text[-1] if token.opening in "`}" else "x"
    return "".join(out)


def _template(source: str, place: int, text: str, templates: list[int], depth: int) -> tuple[str, int, int]:
    """The rest of a template up to its end or to the next ${."""
    rest = _TEMPLATE.match(source, place)
    assert rest is not None
    if rest["end"] == "${":
        templates.append(depth)
    return text + rest[0], rest.end(), depth


def _between(last: str, following: str, gap: str) -> str:
    """What must stay of the space between two tokens."""
    if not gap or not last:
        return ""
    if gap == "\n" and last not in _OPEN and following not in _CLOSING:
        return "\n"
    joined = last[-1] + following[0]
    return " " if re.fullmatch(r"[\w$]{2}|\+\+|--|//", joined) else ""


def compact_style(source: str) -> str:
    """A style sheet without comments, indentation and line ends."""
    text = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    return re.sub(r"\s*([{};,])\s*", r"\1", re.sub(r"\s+", " ", text)).replace(": ", ":").replace(";}", "}").strip()
