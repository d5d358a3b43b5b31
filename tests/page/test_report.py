"""The report as a file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from typing import Any

import pytest
from typer.testing import CliRunner

from heredity.cli.main import app
from heredity.errors import LabError
from heredity.lab import Lab
from heredity.page import report as module
from heredity.page.compact import SHORTER, compact_script, compact_style, tokens
from heredity.page.names import private_names

HOSTILE = '</script><img src=x onerror=alert(1)>[[SCRIPT]]<!--"\u2028'


def test_the_page_is_small_and_names_no_address_to_load_from() -> None:
    document = module.page({})
    assert len(document.encode()) < 100_000
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!data:)[\w/]""", document.split("<script>")[0])
    assert "http://" not in document.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in document


def test_every_file_of_the_page_is_package_data() -> None:
    names = {file.name for file in resources.files("heredity.page").joinpath("web").iterdir()}
    assert {"page.html", "page.css", "main.js", "model.js", "graph.js"} <= names


def test_the_policy_allows_this_script_and_style_alone() -> None:
    document = module.page({})
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', document)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    for rule, mark in (("script-src", "script"), ("style-src", "style")):
        inside = re.search(rf"<{mark}>(.*?)</{mark}>", document, re.DOTALL)
        assert inside is not None
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()}'"
    assert rules["default-src"] == rules["connect-src"] == "'none'"


def test_text_of_a_lab_stays_data(journal: Any) -> None:
    birth = journal.birth(0, [], labels={HOSTILE: HOSTILE})
    journal.write(birth, {"t": "name", "id": birth["id"], "name": HOSTILE})
    with Lab(journal.lab, mode="r") as lab:
        document = module.report(lab)
    assert document.count("<script") == 2  # the data and the script
    assert "<img" not in document
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', document, re.DOTALL)
    assert data is not None
    chunk = json.loads(data[1])["chunks"][0]
    assert chunk["names"] == [[HOSTILE, 0]]
    assert {HOSTILE: HOSTILE} in chunk["pool"]


def test_the_command_writes_the_file_and_says_so(journal: Any, tmp_path: Any) -> None:
    journal.evolve(10)
    target = tmp_path / "lineage.html"
    result = CliRunner().invoke(app, ["report", "--lab", str(journal.lab), "-o", str(target), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"report": str(target), "bytes": target.stat().st_size, "births": 10}
    assert list(tmp_path.glob(".*")) == []


def test_a_file_that_cannot_be_written_is_named(journal: Any, tmp_path: Any) -> None:
    with Lab(journal.lab, mode="r") as lab, pytest.raises(LabError, match=r"nowhere.*choose another file"):
        module.write_report(lab, tmp_path / "nowhere" / "report.html")


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("let a = 1; // one\nlet b = 2;", "let a=1;let b=2;"),
        ("f(\"a  // b\", '/* c */')", "f(\"a  // b\",'/* c */')"),
        ("x = a / b / c", "x=a/b/c"),
        ("x = y.split(/[/ ]+ /g)", "x=y.split(/[/ ]+ /g)"),
        ("return /a b/.test(x)", "return/a b/.test(x)"),
        ("`a  ${ b  +  `c  ${ {d: 1}.d }  e` }  f`", "`a  ${b+`c  ${{d:1}.d}  e`}  f`"),
        ("a + +b - -c", "a+ +b- -c"),
        ("if (a) b()\nelse c()", "if(a)b()\nelse c()"),
        ("{ a: 1, }", "{a:1}"),
        ("/** why */\nconst birth = async x => x in y", "let B=async x=>x in y"),
    ],
)
def test_compact_keeps_what_a_script_says(source: str, wanted: str) -> None:
    assert compact_script(source) == wanted


@pytest.mark.parametrize(
    ("source", "private"),
    [
        ("const first = 1, second = first;", {"first"}),  # in doubt a word is left alone
        ("let state = {}; state.value = value;", {"state"}),  # nobody declared value: it is the browser's
        ("function area(wide, high) { return wide * high; }", {"area", "wide", "high"}),
        ("const { wide, high = 1 } = box => wide;", {"box"}),  # what is taken out of an object has its name from there
        ("const [first, other] = [...other, first];", {"first", "other"}),
        ("const size = x => `${size(x)} of ${{ size: x }.size}`;", set()),
        ("const size = x => `size ${ size(x) } size`;", {"size"}),
        ("const hold = { close() { hold.open(); } }; function close() { hold(); }", {"hold"}),
        ("const ask = flag ? yes => ask : no;", {"ask", "yes"}),
        ("const of = 1; const get = of;", set()),
    ],
)
def test_only_words_that_nobody_else_may_know_are_private(source: str, private: set[str]) -> None:
    assert set(private_names(source)) == private


def test_private_words_change_and_nothing_else() -> None:
    source = "const size = (a, kind) => `size ${a.size2 + kind} ${size}` + 'kind' + /size/.test(kind);"
    # kind (3 times, saves 2 each) comes before size (twice); a is taken
    assert private_names(source) == {"kind": "b", "size": "c"}
    assert (
        compact_script(source, private_names(source)) == "let c=(a,b)=>`size ${a.size2+b} ${c}`+'kind'+/size/.test(b);"
    )


def test_words_shortened_by_hand_are_no_colours_and_their_short_forms_are_free() -> None:
    folder = resources.files("heredity.page").joinpath("web")
    words = {
        token.text
        for file in folder.iterdir()
        if file.name.endswith(".js")
        for token in tokens(file.read_text(encoding="utf-8"))
        if token.word
    }
    assert not words & (set(SHORTER.values()) - {"let"})
    # the script reads colours by the name that the style sheet gives them
    assert not set(SHORTER) & set(re.findall(r"--([\w-]+):", folder.joinpath("page.css").read_text(encoding="utf-8")))


def test_compact_style_keeps_what_a_style_says() -> None:
    assert compact_style("/* x */ a:hover,\n b { color: red;\n width: calc(1px + 2px); }") == (
        "a:hover,b{color:red;width:calc(1px + 2px)}"
    )
