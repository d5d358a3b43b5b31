import ast

import numpy as np
import pytest

from heredity.data import disguises


def after(rewrite, code, seed=0):
    module = ast.parse(code)
    done = rewrite(module, np.random.default_rng(seed))
    return ast.unparse(ast.fix_missing_locations(module)) if done else None


def names(code):
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def test_renaming_leaves_what_is_reached_by_text():
    code = (
        "def f(self, a, key):\n"
        "    global g\n"
        "    import os.path\n"
        "    g = a\n"
        "    b = self.a(key=key)\n"
        "    try:\n"
        "        return os.path.join(b, len(b))\n"
        "    except OSError as error:\n"
        "        return error\n"
    )
    new = after(disguises.rename, code)
    assert {"self", "g", "os", "key", "len", "OSError"} <= names(new) and not {"a", "b", "error"} & names(new)
    assert "self.a(key=key)" in new and new.startswith("def ") and not new.startswith("def f(")


def test_renaming_takes_all_of_a_name_and_no_name_twice():
    code = "def f(a, b):\n    c = [a for a in b]\n    return lambda d: (a, b, c, d)\n"
    for seed in range(30):
        new = after(disguises.rename, code, seed)
        arguments = ast.parse(new).body[0].args.args
        assert len({arg.arg for arg in arguments}) == 2 and "lambda d:" in new
        assert new.count(arguments[0].arg) >= 4


@pytest.mark.parametrize("code", ["def __f__(x=locals()):\n    y = 1\n", "def __f__():\n    pass\n", "x = 1"])
def test_what_cannot_be_renamed_stays(code):
    assert after(disguises.rename, code) is None


def test_only_independent_statements_swap():
    swap = disguises.swap_statements
    assert after(swap, "a = 1\nb = c.d") == "b = c.d\na = 1"
    assert after(swap, "a = 1\nb = f(2)") == "b = f(2)\na = 1"
    for dependent in (
        "a = 1\nb = a",
        "a = b\nb = 1",
        "a = 1\na = 2",
        "a = g()\nb = f()",
        "a = c\nb = f()",
        "x.a = 1\nb = 2",
        "a = (b := 1)\nc = 2",
        "def f():\n    global a\n    a = 1\n    b = g()",
    ):
        assert after(swap, dependent) is None, dependent


def test_a_loop_keeps_break_and_continue():
    body = "    if x == 2:\n        continue\n    if x == 6:\n        break\n    out.append(x)"
    code = f"out = []\nfor x in range(9):\n{body}"
    new = after(disguises.for_to_while, code)
    space: dict[str, object] = {}
    exec(new, space)
    assert space["out"] == [0, 1, 3, 4, 5] and "while True" in new and "for " not in new


def test_constants_keep_their_value_and_texts_that_must_stay_do():
    code = "x = 12 + f('hello', 3, True, 1)"
    for seed in range(20):
        new = after(disguises.change_constants, code, seed)
        kept = eval(new.removeprefix("x = "), {"f": lambda *a: 100 if a == ("hello", 3, True, 1) else 0})
        assert new != code and kept == 112
    for stays in (
        'def f(a: "text", b="text", *, c=10) -> "text":\n    """A docstring."""',
        "y = f'{x:10}'",
        "match x:\n    case 10:\n        pass",
        "a: 'text' = b",
    ):
        assert after(disguises.change_constants, stays) is None, stays


def test_comparisons_turn_round_unless_something_is_called():
    assert after(disguises.flip_comparison, "a < b") == "b > a"
    assert after(disguises.flip_comparison, "a >= b.c") == "b.c <= a"
    assert after(disguises.flip_comparison, "f() < b") is None and after(disguises.flip_comparison, "a < b < c") is None
    assert after(disguises.flip_comparison, "a in b") is None


def test_branches_swap():
    assert after(disguises.invert_if, "if not a:\n    b\nelse:\n    c") == "if a:\n    c\nelse:\n    b"
    assert after(disguises.invert_if, "if a:\n    b\nelif c:\n    d") == "if not a:\n    if c:\n        d\nelse:\n    b"
    assert after(disguises.invert_if, "if a:\n    b") is None


def test_only_numbers_are_added_otherwise():
    assert after(disguises.expand_augmented, "x *= 2") == "x = x * 2"
    assert (
        after(disguises.expand_augmented, "x += [1]") is None and after(disguises.expand_augmented, "x.y += 1") is None
    )


def test_a_body_that_is_only_text_is_left_empty():
    assert after(disguises.drop_docstrings, 'def f():\n    """Text."""') == "def f():\n    pass"
    assert after(disguises.drop_docstrings, "def f():\n    return 1") is None
