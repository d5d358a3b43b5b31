import ast

import numpy as np
import pytest

from heredity.data.code_edits import DISGUISES, CodeEdit, applied, edited_functions, functions
from heredity.data.corpus import Document

SOURCE = '''
import os


class Reader:
    @property
    def lines(self):
        """All lines."""
        found = []
        # a comment
        for line in self.text.split("\\n"):
            if line == "":
                found.append("empty")
            else:
                found.append(line)
        return found


def total(values, start=0):
    """Sum."""
    count = 0
    result = start
    for value in values:
        if value < 100:
            result += value
            count += 1
        else:
            result = result - 250
    return result, count


def short(x):
    return x
'''
DOCUMENT = Document(SOURCE, "pkg.mod", "pkg", "source")
TOTAL = next(function.code for function in functions([DOCUMENT]) if function.name == "total")


def by_name(name):
    return next(edit for edit in DISGUISES if edit.name == name)


def outcome(code, *arguments):
    space = {}
    exec(code, space)
    function = next(value for name, value in space.items() if callable(value) and name != "__builtins__")
    return function(*arguments)


def test_functions_have_their_place_and_length_and_lose_comments_and_decorators():
    found = {function.name: function for function in functions([DOCUMENT])}
    assert set(found) == {"Reader.lines", "total"}  # `short` has two lines
    assert found["Reader.lines"].module == "pkg.mod"
    assert "#" not in found["Reader.lines"].code and "@" not in found["Reader.lines"].code


@pytest.mark.parametrize("edit", DISGUISES, ids=lambda edit: edit.name)
def test_every_disguise_changes_the_code_and_not_what_it_does(edit):
    expected = outcome(TOTAL, [3, 500, 99, 100], 7)
    tree = ast.parse(TOTAL)
    before = ast.dump(tree)
    for seed in range(20):
        changed = edit.apply(tree, np.random.default_rng(seed))
        code = ast.unparse(changed)
        assert code != TOTAL and outcome(code, [3, 500, 99, 100], 7) == expected
    assert ast.dump(tree) == before


def test_all_disguises_together_keep_what_the_code_does():
    expected = outcome(TOTAL, [3, 500, 99, 100], 7)
    for seed in range(40):
        code, made = applied(TOTAL, DISGUISES, 8, np.random.default_rng(seed))
        assert len({edit.name for edit in made}) == len(made) >= 6
        assert outcome(code, [3, 500, 99, 100], 7) == expected


def test_an_edit_without_a_place_says_so():
    tree = ast.parse("def f(a):\n    return a\n")
    names = [edit.name for edit in DISGUISES if edit.apply(tree, np.random.default_rng(0)) is not None]
    assert names == ["rename"]
    assert (
        by_name("for_to_while").apply(ast.parse("for x in y:\n    pass\nelse:\n    z()"), np.random.default_rng(0))
        is None
    )


def test_an_edit_takes_a_function_as_well_as_a_module():
    function = ast.parse(TOTAL).body[0]
    changed = by_name("drop_docstrings").apply(function, np.random.default_rng(0))
    assert "Sum." not in ast.unparse(changed) and ast.get_docstring(function) == "Sum."


def test_pairs_of_functions_parse_differ_and_repeat():
    pairs = edited_functions([DOCUMENT], DISGUISES, joint=(2, 3), seed=5, lines=(3, 20))
    assert pairs == edited_functions([DOCUMENT], DISGUISES, joint=(2, 3), seed=5, lines=(3, 20))
    assert len(pairs) == 2 and pairs != edited_functions([DOCUMENT], DISGUISES, joint=(2, 3), seed=6, lines=(3, 20))
    for pair in pairs:
        assert ast.parse(pair.old) and ast.parse(pair.new) and pair.old != pair.new
        assert 2 <= pair.sites <= 3 and pair.kind == "disguise" and pair.message.count(",") == pair.sites - 1


def test_a_result_that_does_not_parse_is_no_edit():
    def breaks(module, rng):
        module.body = [ast.Expr(ast.Name("a b", ast.Load()))]
        return True

    code, made = applied("x = 1", [CodeEdit("breaks", "bug", breaks)], 1, np.random.default_rng(0))
    assert (code, made) == ("x = 1", [])


def test_a_range_without_edits_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        edited_functions([DOCUMENT], DISGUISES, joint=(0, 2))
