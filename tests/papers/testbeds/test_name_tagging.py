import ast

import numpy as np
import pytest

from heredity.papers.testbeds.name_tagging import COLUMNS, DIMENSIONS, PER_FILE, TAGS, _names_of, divide, roles
from heredity.papers.testbeds.taggers import TAGGERS, accuracies

SOURCE = """import os.path as path
LIMIT = 3

@property
async def outer(first, *rest, key: int = LIMIT):
    local = print(first.name, sep=key)
    def inner(): return [local + i for i in range(LIMIT)]
    global LIMIT
    return self.call("é", é=inner)

class Thing(Base, metaclass=abc.Meta):
    field = LIMIT
    other = field
    def method(self): return field
"""


def tag_of(word, nth=0):
    """The tag of the nth occurrence of a word that has one."""
    lines = SOURCE.split("\n")
    found = roles(ast.parse(SOURCE), lines)
    tagged = [tag for (line, column), tag in sorted(found.items()) if lines[line - 1].startswith(word, column)]
    return tagged[nth]


@pytest.mark.parametrize(
    ("word", "nth", "tag"),
    [
        ("os", 0, "import"),
        ("LIMIT", 0, "global"),
        ("property", 0, "builtin"),
        ("outer", 0, "function definition"),
        ("first", 0, "parameter"),
        ("rest", 0, "parameter"),
        ("int", 0, "builtin"),
        ("local", 0, "local"),
        ("print", 0, "call"),
        ("name", 0, "attribute"),
        ("sep", 0, "keyword argument"),
        ("inner", 0, "function definition"),
        ("local", 1, "outer local"),
        ("call", 0, "method call"),
        ("Thing", 0, "class definition"),
        ("Base", 0, "global"),
        ("field", 0, "class variable"),
        ("field", 1, "class variable"),
        ("field", 2, "global"),  # a method does not see its class's names
        ("self", 0, "global"),  # no parameter of `outer`
        ("self", 1, "parameter"),
        ("é", 0, "keyword argument"),  # columns of the tree are bytes, those of lines characters
        ("i ", 0, "local"),
    ],
)
def test_roles(word, nth, tag):
    assert tag_of(word, nth) == tag


def test_every_name_of_a_file_has_features_and_a_tag():
    features, tags = _names_of(SOURCE)
    assert features.shape == (len(tags), COLUMNS) and features.max() < DIMENSIONS
    words = [TAGS[tag] for tag in tags]
    assert words[:4] == ["keyword", "import", "keyword", "global"]  # import os (path has no role) as LIMIT …
    same = [row for row, tag in zip(features, words, strict=True) if tag == "function definition"]
    assert (same[0][1:8] != same[1][1:8]).any()
    many, _ = _names_of("x = 1\n" * (PER_FILE + 5))
    assert len(many) == PER_FILE


def test_training_and_test_names_come_from_different_files_in_blocks():
    files = np.repeat(np.arange(30), 100)
    train, test = divide(files, 200, seed=4)
    assert not set(files[train]) & set(files[test]) and len(set(test)) == 200
    assert len(train) >= 3000 * 5 / 6 - 100
    steps = np.diff(train).reshape(-1)
    assert np.mean(steps == 1) == pytest.approx(7 / 8, abs=0.02)  # eight in a row
    again, other = divide(files, 200, seed=4), divide(files, 200, seed=5)
    assert (again[0] == train).all() and set(files[other[1]]) != set(files[test])
    with pytest.raises(ValueError, match="test files hold"):
        divide(files, 2000, seed=0)


def test_taggers_learn_and_repeat():
    rng = np.random.default_rng(0)
    tags = np.tile(np.arange(4), 300)  # balanced: Bernoulli's absent features favour the larger tag
    features = rng.integers(1000, 1050, (1200, COLUMNS))
    for column in (0, 5, 10):  # one column of each group tells the tag
        features[:, column] = tags + 10 * column
    parts = (features[:1000], tags[:1000]), (features[1000:], tags[1000:])
    for name in TAGGERS:
        found = accuracies(name, *parts, [100, 500, 1000])
        assert found[-1] > 90, name
        assert found == accuracies(name, *parts, [100, 500, 1000])
