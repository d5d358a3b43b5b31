"""Recipes: every mistake is one line that names the key, the value and what is allowed."""

from pathlib import Path

import pytest

from heredity.errors import RecipeError
from heredity.recipes.loading import builtin_recipe, load_recipe

GOOD = "founders: [a, b]\nbase: c\ntask: {data: t.jsonl}\n"


def load(tmp_path: Path, text: str, **changes: object) -> object:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return load_recipe(path, changes)


def test_the_built_in_recipe_is_valid() -> None:
    recipe = load_recipe(builtin_recipe())
    assert recipe.founders == "two-shifts"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD + "foundrs: [x]\n", 4, ["unknown key 'foundrs'", "did you mean 'founders'"]),
        (GOOD + "population:\n  generation: 3\n", 5, ["'population.generation'", "'generations'"]),
        (GOOD + "population: {size: many}\n", 4, ["population.size", "'many'", "integer"]),
        (GOOD + "population: {crossover: 1.5}\n", 4, ["population.crossover", "1.5", "less than or equal to 1"]),
        (GOOD + "population: {selection: best}\n", 4, ["population.selection", "'best'", "'roulette'", "'tournament'"]),
        (GOOD.replace("data: t.jsonl", "data: t.jsonl, match: exactly"), 3, ["task.match", "'exactly'", "'contains'"]),
        ("founders: [a, b]\n", 1, ["'task'", "missing"]),
        ("founders: [a]\ntask: {data: t.jsonl}\n", 1, ["at least two founders", "1 given"]),
        ("founders: [a, b]\ntask: {}\n", 2, ["exactly one of data, function, builtin"]),
        ("founders: [a, b]\ntask: {data: t, function: m:f}\n", 2, ["data and function given"]),
        ("founders: [a, b]\ntask: {builtin: two-shifts}\n", 1, ["founders: two-shifts"]),
        (GOOD + "population: null\nmerging: null\n", 1, ["nothing to do"]),
        (GOOD.replace("data: t.jsonl", "data: t.jsonl, test: 1.5"), 3, ["between 0 and 1", "1.5"]),
    ],
)
def test_a_mistake_is_one_line_with_place_and_remedy(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert f"recipe.yaml:{line}:" in message
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message, message


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, GOOD + "sed: 1\npopulation: {size: 0}\n")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("key", ["merging: {method: tys}", "population: {merge: tys}", "grid: {methods: [tys]}"])
def test_an_unknown_method_names_the_nearest(tmp_path: Path, key: str) -> None:
    with pytest.raises(RecipeError, match=r"tys.*ties"):
        load(tmp_path, GOOD + key)


def test_a_method_that_needs_an_ancestor_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"merging\.method.*task_arithmetic.*'base'"):
        load(tmp_path, GOOD.replace("base: c\n", ""))


def test_a_recipe_that_refers_to_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml:2: YAML aliases"):
        load(tmp_path, "founders: &all\n  - *all\ntask: {data: t}\n")


@pytest.mark.parametrize(
    ("text", "words"), [("founders: [a, b", "no valid YAML"), ("- a\n", "mapping"), ("", "mapping")]
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml.*No such file"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_changes_replace_single_keys(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD + "population: {size: 4}\n", **{"population.generations": 2, "merging.sigma": 0.5})
    assert (recipe.population.size, recipe.population.generations, recipe.merging.sigma) == (4, 2, 0.5)  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match=r"'population\.sizes'.*'size'"):
        load(tmp_path, GOOD, **{"population.sizes": 2})
