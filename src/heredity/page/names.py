"""Which names of the page's scripts may be shortened without anybody noticing.

A word is replaced everywhere or nowhere, by a word that the script has nowhere else: then scopes do not matter, and it
is enough that the word is declared in the script and never names a property, which strings, the document or the data
may know.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from string import ascii_letters, digits

from heredity.page.compact import SHORTER, Token, tokens

_NEVER = set(
    """as async await break case catch class const constructor continue debugger default delete do else export extends
    false finally for from function get if import in instanceof let new null of return set static super switch this
    throw true try typeof undefined var void while with yield""".split()  # noqa: SIM905
)
_DECLARING = {"const", "let", "function", "class"}
_OPENING, _CLOSING = {"(", "[", "{"}, {")", "]", "}"}


def private_names(source: str) -> dict[str, str]:
    """Word → a shorter one, the words that save most first.

    >>> private_names("function twice(value) { return { value, two: 2 * value }; }\\ntwice(1);")
    {'twice': 'a'}
    """
    pieces = list(_pieces(source))
    ends = _ends(pieces)
    around: list[int] = []  # open brackets
    counts: Counter[str] = Counter()
    declared: set[str] = set()
    known: set[str] = set()
    for place, piece in enumerate(pieces):
        if piece.opening in _OPENING:
            around.append(place)
        elif piece.opening in _CLOSING:
            around.pop()
        if not piece.word or piece.text in _NEVER or not re.match(r"[A-Za-z_$]", piece.text):
            continue
        counts[piece.text] += 1
        within = around[-1] if around else -1
        if _is_property(pieces, ends, place, within):
            known.add(piece.text)
        if _is_declared(pieces, ends, place, within):
            declared.add(piece.text)
    taken = set(counts) | _NEVER | set(SHORTER.values())
    free = (word for word in _words() if word not in taken)
    worth = sorted((-count * (len(word) - 2), word) for word, count in counts.items() if word in declared - known)
    return {word: next(free) for gain, word in worth if gain < 0 and word not in SHORTER}


def _pieces(source: str) -> Iterator[Token]:
    """Tokens, with code inside a template between brackets of its own, and an end."""
    for token in tokens(source):
        if token.opening not in ("`", "}") or token.text == "}":
            yield token
            continue
        if token.opening == "}":
            yield Token(")", ")", False, "")
        yield Token(token.text, "`", False, "")
        if token.text.endswith("${"):
            yield Token("(", "(", False, "")
    yield from [Token("", "", False, "")] * 3


def _ends(pieces: list[Token]) -> dict[int, int]:
    """Where the bracket that opens at a place closes."""
    opened: list[int] = []
    ends: dict[int, int] = {}
    for place, piece in enumerate(pieces):
        if piece.opening in _OPENING:
            opened.append(place)
        elif piece.opening in _CLOSING:
            ends[opened.pop()] = place
    return ends


def _is_property(pieces: list[Token], ends: dict[int, int], place: int, within: int) -> bool:
    """Whether a word here may name a property; in doubt it does."""
    before, after = pieces[place - 1].text, pieces[place + 1].text
    if before == ".":
        return not (pieces[place - 2].text == "." and pieces[place - 3].text == ".")
    if after == ":" and before in ("{", ","):
        return True
    if after == "(" and before in ("{", "}", ",", ";") and pieces[ends[place + 1] + 1].text == "{":
        return True  # a method
    if within < 0 or pieces[within].text != "{" or before not in ("{", ","):
        return False
    closed = pieces[ends[within] + 1].text  # behind a pattern with defaults
    return after in ("}", ",") or (after == "=" and (before == "{" or closed in ("=", ")", ",")))


def _is_declared(pieces: list[Token], ends: dict[int, int], place: int, within: int) -> bool:
    """Whether a word is declared here: by a keyword, in a list of names, or as a parameter."""
    after = pieces[place + 1].text + pieces[place + 2].text
    if pieces[place - 1].text in _DECLARING or after == "=>":
        return True
    if within < 0:
        return False
    behind, ahead = pieces[within - 1].text, pieces[ends[within] + 1 : ends[within] + 3]
    if pieces[within].text == "[":
        return behind in _DECLARING
    if pieces[within].text != "(":
        return False
    return ahead[0].text + ahead[1].text == "=>" or (ahead[0].text == "{" and pieces[within - 2].text == "function")


def _words() -> Iterator[str]:
    yield from ascii_letters
    yield from map("".join, product(ascii_letters, ascii_letters + digits))
