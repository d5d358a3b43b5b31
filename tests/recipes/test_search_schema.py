"""Recipes with a search: every mistake is one line that names the key, the value and what is allowed."""

from pathlib import Path

import pytest

from heredity.errors import RecipeError
from heredity.recipes.loading import builtin_recipes, find_recipe, load_any
from heredity.recipes.schema import Recipe
from heredity.recipes.search_schema import SearchRecipe
from heredity.recipes.searches import hyperparameters
from heredity.recipes.searching import prepare

TUNING = "search:\n  kind: tuning\n  script: t.py\n  direction: minimize\n  space: {lr: {log: [1e-4, 0.1]}}\n"
FUNCTION = "search:\n  kind: function\n  function: f.py:f\n  direction: minimize\n  box: {low: 0, high: 1, dim: 2}\n"
CODE = "search:\n  kind: code\n  source: p.py\n  evaluator: j.py:score\n  direction: maximize\n  model: ./model\n"


def load(tmp_path: Path, text: str) -> SearchRecipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    recipe = load_any(path)
    assert isinstance(recipe, SearchRecipe)
    return recipe


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("search: {kind: tunin}\n", 1, ["search.kind is 'tunin'", "did you mean 'tuning'"]),
        ("search: {kind: 3}\n", 1, ["search.kind is 3", "tuning, policy, architecture, function, code"]),
        ("search: {script: t.py}\n", 1, ["'search.kind' is missing", "function"]),
        ("search: 3\n", 1, ["search is 3"]),
        (TUNING + "sed: 1\n", 6, ["unknown key 'sed'", "did you mean 'seed'"]),
        (TUNING + "  round: 3\n", 6, ["unknown key 'search.round'", "'rounds'"]),
        (TUNING.replace("minimize", "down"), 4, ["search.direction is 'down'", "'maximize' or 'minimize'"]),
        (TUNING.replace("  direction: minimize\n", ""), 1, ["'search.direction' is missing"]),
        (TUNING.replace("log:", "lg:"), 5, ["unknown key 'search.space.lr.lg'", "'log'"]),
        (
            TUNING.replace("{log: [1e-4, 0.1]}", "{log: [1, 2], int: [1, 2]}"),
            5,
            ["search.space.lr", "log and int given"],
        ),
        (TUNING.replace("[1e-4, 0.1]", "[low, 0.1]"), 5, ["search.space.lr.log.0 is 'low'", "number"]),
        (TUNING + "  searcher: random\n  exploit: ttest\n", 1, ["exploit is a setting of pbt", "'random'"]),
        (TUNING + "  evaluations: 3\n", 1, ["evaluations is not of pbt"]),
        (FUNCTION + "  space: {a: {int: [1, 2]}}\n", 1, ["exactly one of box, space", "box and space given"]),
        (
            FUNCTION.replace("direction: minimize", "population: 0"),
            4,
            ["search.population is 0", "greater than or equal"],
        ),
        (FUNCTION.replace("low: 0", "low: x"), 5, ["search.box.low is 'x'"]),
        (CODE.replace("./model", "{endpoint: 'http://h/v1'}"), 6, ["endpoint and name belong together"]),
        (CODE.replace("./model", "{}"), 6, ["exactly one of endpoint, folder, stand_in", "none given"]),
        (CODE.replace("direction: maximize", "objectives: {a: maximize, b: minimize}\n  islands: 3"), 1, ["islands"]),
        ("search: {kind: architecture, objectives: {speed: maximize}, cells: {}}\n", 1, ["cells measure", "'speed'"]),
    ],
)
def test_a_mistake_is_said_with_place_and_remedy(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    first = str(caught.value).splitlines()[0]
    assert f"recipe.yaml:{line}:" in first, first
    for word in words:
        assert word in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TUNING, ["search.script", "t.py has no function make(hyper, seed)"]),
        (TUNING.replace("t.py", "nowhere.py"), ["search.script: cannot read", "nowhere.py"]),
        (FUNCTION.replace("f.py:f", "f.py:g"), ["search.function: f.py has no function 'g'", "it has f"]),
        (FUNCTION.replace("f.py:f", "f.py"), ["search.function is 'f.py'", "file.py:function"]),
        (FUNCTION.replace("high: 1", "high: -1"), ["search.box", "low must be below high"]),
        (FUNCTION + "  searcher: cma_ess\n", ["search.searcher is 'cma_ess'", "did you mean 'cma_es'"]),
        (FUNCTION + "  searcher: nsga2\n", ["'nsga2'", "it is for several objectives", "snes"]),
        (FUNCTION + "  searcher: snes\n  options: {mean_rat: 1.0}\n", ["search.options.mean_rat", "'mean_rate'"]),
        (FUNCTION + "  searcher: de\n  options: {F: -1.0}\n", ["DifferentialEvolution cannot be made"]),
        (CODE, ["search.source: cannot read"]),
        ("search: {kind: policy, environment: CartPol-v1}\n", ["search.environment is 'CartPol-v1'"]),
        ("search: {kind: policy, environment: CartPole-v1, searcher: deepga2}\n", ["'deepga2'", "deep_ga"]),
        ("search: {kind: architecture, objectives: {n: maximize}, module: f.py}\n", ["f.py must define SPACE"]),
    ],
)
def test_a_search_that_cannot_be_made_says_why_before_it_runs(tmp_path: Path, text: str, words: list[str]) -> None:
    if "policy" in text:
        pytest.importorskip("gymnasium")
    (tmp_path / "f.py").write_text("def f(x):\n    return 0.0\n")
    (tmp_path / "t.py").write_text("def step(training, hyper):\n    pass\n")
    with pytest.raises(RecipeError) as caught:
        prepare(load(tmp_path, text), tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    for word in words:
        assert word in str(caught.value), caught.value


def test_numbers_with_powers_are_numbers_in_ranges_and_choices(tmp_path: Path) -> None:
    # YAML 1.1 reads 1e-4 as a text.
    text = TUNING.replace("{lr: {log: [1e-4, 0.1]}}", "{lr: {log: [1e-4, 1e-1]}, decay: {choice: [0, 1e-3]}}")
    section = load(tmp_path, text).search
    space = hyperparameters(section.space, "search.space")  # type: ignore[union-attr]
    assert space.field("lr").problem(1e-4) is None
    assert space.field("decay").problem(1e-3) is None


def test_a_condition_names_another_hyperparameter(tmp_path: Path) -> None:
    both = "{kind: {choice: [sgd, adam]}, momentum: {uniform: [0, 1], when: {KEY: sgd}}}"
    text = TUNING.replace("{lr: {log: [1e-4, 0.1]}}", both)
    space = load(tmp_path, text.replace("KEY", "kind")).search.space  # type: ignore[union-attr]
    assert hyperparameters(space, "space").active({"kind": "adam"}) == ["kind"]
    space = load(tmp_path, text.replace("KEY", "kin")).search.space  # type: ignore[union-attr]
    with pytest.raises(RecipeError, match=r"space: 'momentum' depends on 'kin', which is no field"):
        hyperparameters(space, "space")


def test_built_in_recipes_are_found_by_name_and_valid() -> None:
    kinds = set()
    for name, path in builtin_recipes().items():
        assert find_recipe(Path(name)) == path
        recipe = load_any(find_recipe(Path(name.replace("_", "-"))))
        kinds.add("models" if isinstance(recipe, Recipe) else recipe.search.kind)
    assert kinds == {"models", "policy", "architecture", "function", "tuning"}


def test_a_file_goes_before_a_built_in_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cells").write_text("")
    assert find_recipe(Path("cells")) == Path("cells")
    with pytest.raises(RecipeError, match="did you mean 'rastrigin'"):
        find_recipe(Path("rastrigi"))
