from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from heredity.data.corpus import COVERED, PARTS, Corpus, Document, docstrings, joined, python_source, reference_prose
from heredity.data.docs_qa import TEMPLATES, Template, docs_qa, with_wrong_answers
from heredity.data.python_files import decode, versions

ALL = (1.0, 0.0, 0.0)


def grams(text: str) -> set[tuple[str, ...]]:
    """An independent reading of the rule: distinct runs of eight words, or the whole of a shorter text."""
    words = tuple(re.findall(r"\w+", text.casefold()))
    return {words[i : i + 8] for i in range(max(1, len(words) - 7))}


def assert_disjoint(corpus: Corpus) -> None:
    parts = [[grams(d.text) for d in part] for part in (corpus.train, corpus.valid, corpus.test)]
    for i, part in enumerate(parts):
        others = {g for j in range(3) if j != i for own in parts[j] for g in own}
        assert all(len(own & others) < COVERED * len(own) for own in part)


@pytest.fixture(scope="module")
def stdlib_docs() -> Corpus:
    return docstrings()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package that fails loudly when it is imported."""
    folder = tmp_path / "unread_package"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Front door."""\nraise SystemExit("imported")\n')
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_modules_and_texts_of_the_parts_are_disjoint(stdlib_docs: Corpus) -> None:
    modules = [{d.module for d in part} for part in (stdlib_docs.train, stdlib_docs.valid, stdlib_docs.test)]
    assert not (modules[0] & modules[1] or modules[0] & modules[2] or modules[1] & modules[2])
    assert_disjoint(stdlib_docs)
    assert stdlib_docs.skipped["near-duplicate"] > 0


def test_prose_parts_are_disjoint_and_without_import() -> None:
    corpus = reference_prose((0.6, 0.2, 0.2))
    assert_disjoint(corpus)
    assert min(len(corpus.train), len(corpus.valid), len(corpus.test)) > 0
    # The real reference, at least 0.2 million characters even after the near-duplicates left.
    assert sum(len(d.text) for part in (corpus.train, corpus.valid, corpus.test) for d in part) > 200_000
    assert "pydoc_data.topics" not in sys.modules


def test_a_seed_places_a_module_in_the_same_part_of_source_and_docstrings() -> None:
    names, split = ("json", "email"), (0.5, 0.25, 0.25)
    source, docs = python_source(names, split), docstrings(names, split)
    where = {d.module: part for part in PARTS for d in getattr(source, part)}
    shared = [(where[d.module], part) for part in PARTS for d in getattr(docs, part) if d.module in where]
    assert len(set(shared)) == 3
    assert all(a == b for a, b in shared)


def test_same_seed_same_corpus_in_another_process() -> None:
    here = docstrings(("asyncio", "email"), (0.5, 0.25, 0.25))
    # Another hash seed: sets of strings iterate in another order there.
    code = (
        "from heredity.data.corpus import docstrings; "
        "print(docstrings(('asyncio', 'email'), (0.5, 0.25, 0.25)).fingerprint())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.strip() == here.fingerprint()
    assert docstrings(("asyncio", "email"), (0.5, 0.25, 0.25), seed=1).fingerprint() != here.fingerprint()


def test_fingerprint_follows_text_order_and_part() -> None:
    a, b = (Document(x, "m", "m", "module") for x in ("one", "two"))
    corpora = [
        Corpus((a, b), (), ()),
        Corpus((b, a), (), ()),
        Corpus((a,), (b,), ()),
        Corpus((a, replace(b, text="Two")), (), ()),
        Corpus((a, replace(b, parameters=())), (), ()),
    ]
    assert len({c.fingerprint() for c in corpora}) == len(corpora)
    assert Corpus((a, b), (), (), origin=("elsewhere",)).fingerprint() == corpora[0].fingerprint()


def test_changed_file_changes_the_fingerprint(package: Path) -> None:
    before = python_source(("unread_package",), ALL).fingerprint()
    assert python_source(("unread_package",), ALL).fingerprint() == before
    (package / "more.py").write_text("x = 1\n")
    assert python_source(("unread_package",), ALL).fingerprint() != before


def test_nothing_that_is_read_is_imported(package: Path) -> None:
    (package / "this_too.py").write_text('"""Fails."""\n1 / 0\n')
    before = set(sys.modules)
    corpus = docstrings(("unread_package", "wsgiref", "this"), ALL)
    assert {d.module for d in corpus.train} >= {"unread_package", "unread_package.this_too", "wsgiref.handlers"}
    assert set(sys.modules) - before <= {m for m in sys.modules if m.startswith("encodings.")}  # codecs of decoding


def test_declared_encodings_are_obeyed_and_bad_files_are_counted(package: Path) -> None:
    (package / "latin.py").write_bytes(b'# -*- coding: latin-1 -*-\r\n"""caf\xe9"""\r\n')
    (package / "marked.py").write_bytes(b'\xef\xbb\xbf"""na\xc3\xafve"""\r')
    (package / "not_utf8.py").write_bytes(b'"""caf\xe9"""\n')
    (package / "unknown.py").write_bytes(b'# coding: no-such-encoding\n"""x"""\n')
    (package / "wrong_bytes.py").write_bytes(b'# coding: ascii\n#\n#\n"""caf\xe9"""\n')
    (package / "python2.py").write_text('print "old"\n')
    (package / "null.py").write_text('x = "\0"\n')
    (package / "blank.py").write_text("\n")
    (package / "half.py").write_text('"""\\ud800"""\n')
    corpus = docstrings(("unread_package",), ALL)
    assert {d.module.rpartition(".")[2]: d.text for d in corpus.train} == {
        "unread_package": "Front door.",
        "latin": "café",
        "marked": "naïve",
    }
    assert corpus.skipped == {"encoding": 3, "syntax": 2, "empty": 1, "surrogates": 1}
    assert decode(b"a\r\nb\rc\n") == "a\nb\nc\n"


def test_old_escapes_do_not_warn(package: Path) -> None:
    (package / "old.py").write_text('x = "\\d"\n')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(python_source(("unread_package",), ALL).train) == 2


def test_definitions_carry_their_names_kinds_and_parameters(package: Path) -> None:
    (package / "api.py").write_text(
        "if True:\n"
        "    def free(a, /, b, *rest, c=1, **more):\n"
        '        """Do it.  Then\n\n        rest."""\n'
        '        def inner():\n            """Hidden."""\n'
        "else:\n"
        '    def free():\n        """Second."""\n'
        "class C:\n"
        '    """A thing."""\n'
        "    class D:\n"
        '        async def go(self, x):\n            """Go."""\n'
        '    @staticmethod\n    def make(y):\n        """Make."""\n'
        '    @functools.cached_property\n    def p(self):\n        """Value."""\n'
    )
    corpus = docstrings(("unread_package",), ALL)
    found = {d.name: (d.kind, d.parameters) for d in corpus.train if d.module == "unread_package.api"}
    assert found == {
        "free": ("function", ("a", "b", "*rest", "c", "**more")),
        "C": ("class", None),
        "C.D.go": ("method", ("x",)),
        "C.make": ("method", ("y",)),
        "C.p": ("property", None),
    }
    assert corpus.skipped == {"redefined": 1}
    free = next(d for d in corpus.train if d.name == "free")
    assert free.summary == "Do it."
    assert free.entry == "unread_package.api.free(a, b, *rest, c, **more)\n\nDo it.  Then\n\nrest."


def test_summaries_are_first_sentences_on_one_line() -> None:
    corpus = docstrings(("textwrap",), ALL, summary_only=True)
    texts = {d.name: d.text for d in corpus.train}
    assert texts["dedent"] == "Remove any common leading whitespace from every line in `text`."


def test_tests_are_left_out_unless_asked_for(package: Path) -> None:
    (package / "tests").mkdir()
    for name in ("tests/__init__.py", "tests/deep.py", "test_it.py", "conftest.py", "testing.py"):
        (package / name).write_text(f"x = {name!r}\n")
    without, with_tests = (python_source(("unread_package",), ALL, exclude_tests=x).train for x in (True, False))
    assert {d.module for d in without} == {"unread_package", "unread_package.testing"}
    assert len(with_tests) == 6


def test_packages_stay_whole() -> None:
    names = ("json", "email", "xml", "http", "html", "urllib", "wsgiref", "logging", "sqlite3", "dbm", "zoneinfo")
    corpus = python_source(names, (0.5, 0.5, 0), by="package")
    first, second = ({d.package for d in part} for part in (corpus.train, corpus.valid))
    assert first | second == set(names)
    assert not first & second


def test_joined_corpora_have_no_duplicates_between_their_parts() -> None:
    text = "the quick brown fox jumps over the lazy dog again"
    a = Corpus((Document(text, "a", "a", "module"),), (), (), ("P 1",), {"syntax": 2})
    b = Corpus((), (), (Document(text.upper() + "!", "b", "b", "module"),), ("P 1", "Q 2"), {"syntax": 1})
    both = joined(a, b)
    assert (len(both.train), len(both.test)) == (0, 1)  # training gives way
    assert both.skipped == {"near-duplicate": 1, "syntax": 3}
    assert both.origin == ("P 1", "Q 2")


def test_origin_names_python_and_the_distributions() -> None:
    python, learn = versions(("sklearn", "stdlib"))
    assert python.endswith(sys.version.split()[0])
    assert learn.startswith("scikit-learn ")


@pytest.mark.parametrize(
    ("packages", "split", "by", "message"),
    [
        (("no_such_package",), ALL, "module", "installed"),
        (("json.decoder",), ALL, "module", "top-level"),
        (("math",), ALL, "module", "no Python file"),
        (("json",), (0.5, 0.5, 0.5), "module", "sum to 1"),
        (("json",), (0.8, 0.1, 0.1), "package", "empty"),
        (("json",), ALL, "text", "by must be"),
    ],
)
def test_what_cannot_be_read_or_split_is_refused(packages, split, by, message) -> None:
    with pytest.raises(ValueError, match=message):
        python_source(packages, split, by=by)


def test_answers_stand_in_their_documents(stdlib_docs: Corpus) -> None:
    entries = {d.entity: " ".join(d.entry.split()) for d in stdlib_docs.test}
    found = docs_qa(stdlib_docs.test)
    assert all(docs_qa(stdlib_docs.test, [template]) for template in TEMPLATES)
    for qa in found:
        assert qa.answer in entries[qa.entity]
        assert qa.answer in qa.options
        assert len(set(qa.options)) == len(qa.options) == 4
    assert len({qa.question for qa in found}) == len(found)
    assert docs_qa(stdlib_docs.test) == found
    assert [qa.answer for qa in docs_qa(stdlib_docs.test, seed=1)] == [qa.answer for qa in found]
    assert docs_qa(stdlib_docs.test, seed=1) != found


def test_questions_with_two_answers_are_left_out() -> None:
    docs = [Document("Text.", m, m, "function", n) for m, n in (("a", "f"), ("b", "f"), ("c", "g"), ("d", "h"))]
    found = docs_qa(docs, [Template("Where is {name}?", "module")], choices=2)
    assert {qa.question: (qa.answer, sorted(qa.options)) for qa in found} == {
        "Where is g?": ("c", ["c", "d"]),
        "Where is h?": ("d", ["c", "d"]),
    }
    with pytest.raises(ValueError, match="need as many answers, got 2"):
        docs_qa(docs, [Template("Where is {name}?", "module")], choices=3)
    with pytest.raises(ValueError, match="known facts"):
        Template("Who wrote {name}?", "author")


def test_wrong_answers_are_exactly_as_many_as_asked(stdlib_docs: Corpus) -> None:
    found = docs_qa(stdlib_docs.test)
    changed = with_wrong_answers(found, 0.4, seed=3)
    wrong = [(a, b) for a, b in zip(found, changed, strict=True) if a != b]
    assert len(wrong) == round(0.4 * len(found))
    assert all(b.answer in a.options and b.answer != a.answer and b.question == a.question for a, b in wrong)
