import ast

import pytest

from heredity.data.code_edits import functions
from heredity.data.code_pairs import code_pairs
from heredity.data.corpus import Corpus, Document


def module(name, count):
    parts = [
        f"def f{i}(values, limit={i + 3}):\n    '''Text {i}.'''\n    out = []\n    for value in values:\n"
        f"        if value < {10 * i + 2}:\n            out.append(value * {i + 2})\n        else:\n"
        f"            out.append('{name} {i}')\n    return out\n"
        for i in range(count)
    ]
    return Document("\n\n".join(parts), name, name.partition(".")[0], "source")


CORPUS = Corpus(
    (module("a.one", 6), module("a.two", 4)), (module("b.one", 3), module("b.two", 3)), (module("c.one", 4),)
)


@pytest.fixture(scope="module")
def parts():
    return code_pairs(CORPUS, (50, 25, 20), positive=0.2, seed=1)


def test_sizes_and_shares_are_what_was_asked(parts):
    assert [len(part.label) for part in parts] == [50, 25, 20]
    assert [sum(part.label) for part in parts] == [10, 5, 4]


def test_a_part_holds_functions_of_its_own_modules_only(parts):
    for part, documents in zip(parts, (CORPUS.train, CORPUS.valid, CORPUS.test), strict=True):
        known = {function.code for function in functions(documents)}
        assert set(part.first) <= known


def test_both_classes_are_disguised_alike(parts):
    for part in parts:
        known = set(part.first)
        for code, label, edits in zip(part.second, part.label, part.edits, strict=True):
            assert ast.parse(code) and code not in known and label in (0, 1) and 1 <= edits <= 5
    train = parts[0]
    dropped = {label: [] for label in (0, 1)}
    for code, label in zip(train.second, train.label, strict=True):
        dropped[label].append(ast.get_docstring(ast.parse(code).body[0]) is None)
    # Every disguise has a place in these functions: 3 to 5 of 7 drop the text in about half, of either class.
    assert all(0.2 < sum(found) / len(found) < 0.95 for found in dropped.values())


def numbers(code):
    """The code's integers, sums added up; `while True` holds none."""
    constants = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    return sum(value for value in constants if type(value) is int)


def test_a_positive_pair_is_one_function_and_a_negative_pair_two(parts):
    # No disguise changes the sum of a function's integers; those of two functions of one module differ.
    for part in parts:
        alike = {label: [] for label in (0, 1)}
        for first, second, label in zip(part.first, part.second, part.label, strict=True):
            alike[label].append(numbers(first) == numbers(second))
        assert all(alike[1]) and sum(alike[0]) < len(alike[0]) / 2


def test_the_same_seed_gives_the_same_pairs(parts):
    assert code_pairs(CORPUS, (50, 25, 20), positive=0.2, seed=1) == parts
    assert code_pairs(CORPUS, (50, 25, 20), positive=0.2, seed=2) != parts


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="positive"):
        code_pairs(CORPUS, positive=1.0)
    with pytest.raises(ValueError, match="fewer than two"):
        code_pairs(Corpus((module("a.one", 1),), CORPUS.valid, CORPUS.test), (2, 2, 2))
