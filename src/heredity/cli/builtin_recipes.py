"""The recipes that come with Heredity: their names, and copies to begin one's own with."""

from __future__ import annotations

from pathlib import Path

from heredity.cli.console import Out, print_json
from heredity.errors import RecipeError


def list_recipes(*, as_json: bool) -> None:
    """The built-in recipes with the first sentence of their comments."""
    from heredity.recipes.loading import builtin_recipes

    found = {}
    for name, path in builtin_recipes().items():
        lines = path.read_text(encoding="utf-8").splitlines()
        comment = " ".join(line[1:].strip() for line in lines[: next(i for i, x in enumerate(lines) if x[:1] != "#")])
        found[name] = (comment.partition(". ")[0].partition(":")[0].rstrip("."), path)
    if as_json:
        print_json({name: {"about": about, "path": str(path)} for name, (about, path) in found.items()})
        return
    screen = Out()
    screen.rows([[name, about] for name, (about, _) in found.items()], stretch=1, indent=2)
    name = next(iter(found))
    screen.next_steps(f"heredity evolve {name} --dry-run", f"heredity evolve {name} --copy .")


def copy_recipe(recipe: Path | None, folder: Path) -> None:
    """Write a built-in recipe and the Python file that it names, if any, to a folder.

    Raises:
        RecipeError: there is no built-in recipe of that name, a file is there already or cannot be written.
    """
    from heredity.recipes.loading import DEMO, builtin_recipes, find_recipe

    path = find_recipe(recipe or Path(DEMO))
    if path not in builtin_recipes().values():
        raise RecipeError(f"--copy takes a built-in recipe's name, {path} is a file; see heredity evolve --list")
    files = [file for file in (path, path.with_suffix(".py")) if file.exists()]
    for file in files:
        if (folder / file.name).exists():
            raise RecipeError(f"--copy: {folder / file.name} is there already; choose another folder")
    screen = Out()
    for file in files:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"--copy: cannot write {folder / file.name}: {error.strerror}") from error
        screen.line(str(folder / file.name))
    screen.next_steps(f"heredity evolve {folder / path.name} --dry-run")
