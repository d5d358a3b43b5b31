"""Real English and code without a download: the source, docstrings and reference text of the running Python.

Files are decoded and parsed, never imported or executed. A corpus is fixed by its seed, its arguments, the Python
version and the versions of the packages read; `Corpus.origin` names them, `Corpus.fingerprint` hashes the content.
A seed places a module in the same part of `python_source` and of `docstrings`: a held-out docstring is in no training
source file of its own module. Only .py files are read: functions written in C (math, most of builtins) have no
docstring here, nor have numpy's compiled ones. Licence headers and authors' addresses stay in source texts. Texts
remain under their own licences (Python's PSF-2.0, the packages' own); none is distributed with Heredity.

Sizes with CPython 3.11.7, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1, seed 0, in million characters:
    python_source      train 8.4, valid 1.0, test 1.0; 645 files, 80 near-duplicates left out (2.4 s on one core)
    with tests         train 24.2, valid 2.6, test 3.0; 1,647 files (8.6 s)
    docstrings         train 1.50, valid 0.16, test 0.11; 8,439 docstrings (1.8 s); summaries alone 0.38, 0.04, 0.04
    with numpy, scipy, sklearn   train 9.3, valid 1.0, test 0.9; 17,146 docstrings, 633 left out (5.8 s)
    reference_prose    train 0.31, valid 0.004, test 0.11; 68 topics, 11 left out: use other shares for a larger valid
Source: the split by module without 8-gram duplicates is arXiv 2407.18743's at the scale of one installation.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from heredity.data.python_files import decode, definitions, parameters, parse, read_modules, versions

PARTS = ("train", "valid", "test")
NGRAM = 8
COVERED = 0.5
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(\[])")

Split = tuple[float, float, float]
Kind = Literal["source", "module", "class", "function", "method", "property", "topic"]


@dataclass(frozen=True, slots=True)
class Document:
    """One text and where it stands.

    Args:
        text: as its author wrote it; docstrings without indentation, lines end with "\\n".
        module: dotted name of the module that holds it.
        package: first part of that name.
        kind: what it is or documents.
        name: qualified name in the module, or the topic; "" for a whole module.
        parameters: names that a function or method takes, without its self or cls; None for everything else.
    """

    text: str
    module: str
    package: str
    kind: Kind
    name: str = ""
    parameters: tuple[str, ...] | None = None

    @property
    def entity(self) -> str:
        """What the document is about: "textwrap.dedent"; the module where it has no name."""
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def entry(self) -> str:
        """The text under its heading, as a manual prints it: "textwrap.dedent(text)", an empty line, the text."""
        call = "" if self.parameters is None else f"({', '.join(self.parameters)})"
        return f"{self.entity}{call}\n\n{self.text}"

    @property
    def summary(self) -> str:
        """The first sentence of the text's first paragraph, on one line; "" when there is none."""
        paragraph = " ".join(re.split(r"\n\s*\n", self.text.strip(), maxsplit=1)[0].split())
        return SENTENCE_END.split(paragraph, maxsplit=1)[0]


@dataclass(frozen=True)
class Corpus:
    """Three disjoint sets of documents, each in an order fixed by the seed; a module's documents stay together.

    Args:
        train, valid, test: no document has `COVERED` or more of its distinct word 8-grams in the other two parts
            together (fewer than eight words count as one gram). A short text inside a longer one can remain: then
            only the long one's few grams are shared.
        origin: what was read, with versions.
        skipped: how many files or documents were left out, by reason: "encoding", "syntax", "empty",
            "surrogates", "redefined", "near-duplicate".
    """

    train: tuple[Document, ...]
    valid: tuple[Document, ...]
    test: tuple[Document, ...]
    origin: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """SHA-256 of all documents, their order and their part: equal if and only if the corpora hold the same."""
        digest = hashlib.sha256()
        for part in PARTS:
            for d in getattr(self, part):
                row = [part, d.module, d.package, d.kind, d.name, d.parameters, d.text]
                digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()


def python_source(
    packages: Sequence[str] = ("stdlib",),
    split: Split = (0.8, 0.1, 0.1),
    *,
    seed: int = 0,
    exclude_tests: bool = True,
    by: Literal["module", "package"] = "module",
) -> Corpus:
    """One document per Python file, of kind "source".

    Args:
        packages: "stdlib" for all of the standard library, or top-level names of installed packages or modules.
        split: expected shares of the modules in train, valid and test; each module is placed by a hash of its name
            and the seed, so that the real shares differ from these by chance.
        seed: of placement and order.
        exclude_tests: leave out folders test, tests and idle_test, and files test_*.py and conftest.py.
        by: what is kept in one part: "module", or "package" for all modules under one top-level name.

    Raises:
        ValueError: a package is not installed or holds no Python file, or a part with a share is empty.
    """
    skipped: Counter[str] = Counter()
    documents = [
        Document(text, module, module.partition(".")[0], "source")
        for module, text, _ in read_modules(packages, exclude_tests, skipped)
    ]
    return _divided(documents, by, split, seed, origin=versions(packages), skipped=skipped)


def docstrings(
    packages: Sequence[str] = ("stdlib",),
    split: Split = (0.8, 0.1, 0.1),
    *,
    summary_only: bool = False,
    seed: int = 0,
    exclude_tests: bool = True,
    by: Literal["module", "package"] = "module",
) -> Corpus:
    """One document per docstring of a module, class, method or function; functions inside functions are left out.

    A name defined twice in a module keeps its first docstring. Private names are included.

    Args:
        summary_only: keep each docstring's first sentence alone.

    Other arguments and errors: see `python_source`.
    """
    skipped: Counter[str] = Counter()
    documents = []
    for module, _, tree in read_modules(packages, exclude_tests, skipped):
        seen = set()
        for d in _documented(module, tree):
            text = d.summary if summary_only else d.text
            if d.name in seen:
                skipped["redefined"] += 1
            elif not text:
                skipped["empty"] += 1
            elif not _encodable(text):
                skipped["surrogates"] += 1
            else:
                seen.add(d.name)
                documents.append(Document(text, d.module, d.package, d.kind, d.name, d.parameters))
    return _divided(documents, by, split, seed, origin=versions(packages), skipped=skipped)


def reference_prose(split: Split = (0.8, 0.1, 0.1), *, seed: int = 0) -> Corpus:
    """Python's language reference as `pydoc` shows it: one document per topic, split by topic.

    Topics overlap (a chapter and its sections are both topics), so that many are dropped as near-duplicates.

    Raises:
        FileNotFoundError: this Python comes without pydoc_data.
        ValueError: its file is not one dictionary of texts.
    """
    path = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    if not path.is_file():
        raise FileNotFoundError(f"this Python has no reference text: {path} is missing")
    found = [
        node.value
        for node in parse(decode(path.read_bytes())).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "topics"
    ]
    topics = ast.literal_eval(found[0]) if len(found) == 1 else None
    if not isinstance(topics, dict) or not all(isinstance(x, str) for item in topics.items() for x in item):
        raise ValueError(f"{path} must assign one dictionary of texts to the name topics")
    documents = [Document(text, "pydoc_data.topics", "pydoc_data", "topic", name) for name, text in topics.items()]
    return _divided(documents, "name", split, seed, origin=versions(("stdlib",)), skipped=Counter())


def joined(*corpora: Corpus) -> Corpus:
    """Part after part of several corpora, now without near-duplicates between their parts either.

    Use one seed for all, so that a module is in the same part of each.
    """
    skipped: Counter[str] = Counter()
    for corpus in corpora:
        skipped.update(corpus.skipped)
    parts = [[d for c in corpora for d in getattr(c, part)] for part in PARTS]
    origin = tuple(dict.fromkeys(name for c in corpora for name in c.origin))
    return _corpus(parts, origin, skipped)


# Division


def _divided(
    documents: Sequence[Document],
    by: str,
    split: Split,
    seed: int,
    *,
    origin: tuple[str, ...],
    skipped: Counter[str],
) -> Corpus:
    if min(split) < 0 or abs(sum(split) - 1) > 1e-9:
        raise ValueError(f"split must be three shares that sum to 1, got {split}")
    if by not in {"module", "package", "name"}:
        raise ValueError(f'by must be "module" or "package", got {by!r}')
    units = [getattr(d, by) for d in documents]
    # Placement depends on the unit and the seed alone: not on what else is read, nor on the kind of text.
    place = {unit: _uniform("place", seed, unit) for unit in units}
    together = [d.name if by == "name" else d.module for d in documents]
    order = {key: _uniform("order", seed, key) for key in together}
    parts: list[list[Document]] = [[], [], []]
    for _, unit, document in sorted(zip(together, units, documents, strict=True), key=lambda row: order[row[0]]):
        parts[(place[unit] >= split[0]) + (place[unit] >= split[0] + split[1])].append(document)
    corpus = _corpus(parts, origin, skipped)
    for name, share, part in zip(PARTS, split, (corpus.train, corpus.valid, corpus.test), strict=True):
        if share and not part:
            raise ValueError(
                f"{len(place)} modules, packages or topics leave {name} empty: read more or split otherwise"
            )
    return corpus


def _uniform(purpose: str, seed: int, name: str) -> float:
    digest = hashlib.sha256(f"{purpose}\x1f{seed}\x1f{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _corpus(parts: Sequence[Sequence[Document]], origin: tuple[str, ...], skipped: Counter[str]) -> Corpus:
    ids: dict[str, int] = {}
    grams = [[(d, _grams(d.text, ids)) for d in part] for part in parts]
    # Training gives way first. What is dropped later only takes grams away, so that the bound holds for all in the end.
    for i in range(3):
        others = {g for j in range(3) if j != i for _, own in grams[j] for g in own}
        grams[i] = [(d, own) for d, own in grams[i] if len(own & others) < COVERED * len(own)]
    train, valid, test = (tuple(d for d, _ in part) for part in grams)
    skipped["near-duplicate"] += sum(map(len, parts)) - len(train) - len(valid) - len(test)
    return Corpus(train, valid, test, origin, dict(sorted((+skipped).items())))


def _grams(text: str, ids: dict[str, int]) -> set[int]:
    """Distinct runs of eight words, as 64-bit hashes: of numbers, so that they do not change between processes."""
    words = [ids.setdefault(word, len(ids)) for word in re.findall(r"\w+", text.casefold())]
    if len(words) < NGRAM:
        return {hash(tuple(words))}
    return {hash(run) for run in zip(*(words[i:] for i in range(NGRAM)), strict=False)}


# Docstrings


def _documented(module: str, tree: ast.Module) -> Iterator[Document]:
    package = module.partition(".")[0]
    if text := ast.get_docstring(tree):
        yield Document(text, module, package, "module")
    for name, node, in_class in definitions(tree):
        if not (text := ast.get_docstring(node)):
            continue
        kind: Kind = "class"
        taken = None
        if not isinstance(node, ast.ClassDef):
            marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
            kind = "function" if not in_class else "property" if marks & {"property", "cached_property"} else "method"
            if kind != "property":
                taken = parameters(node.args, bound=in_class and "staticmethod" not in marks)
        yield Document(text, module, package, kind, name, taken)


def _encodable(text: str) -> bool:
    """Whether UTF-8 can hold it: an escape in a docstring may spell half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
