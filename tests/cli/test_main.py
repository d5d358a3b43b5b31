"""The command line as a whole: finding commands, lazy imports, errors in one line, exit codes."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import heredity.cli
from heredity.cli.main import app, find_commands, main
from heredity.errors import BirthFailed, LabError

READING = (
    ["log"], ["tree"], ["show", "merged"], ["path", "merged"], ["diff", "maths", "chat"], ["best", "-m", "score"],
    ["children", "ancestor"], ["name", "merged", "also"],
)  # fmt: skip
BIRTH = "id time kind operator type change seed parents names metrics failures labels".split()  # noqa: SIM905
WITH_EXAMPLES = "log tree show path diff best children name gc verify export import"


def test_every_command_function_is_found_without_importing_its_module():
    found = {(command.name, command._module, command.help) for command in find_commands()}
    expected = set()
    for path in Path(heredity.cli.__path__[0]).glob("*.py"):
        for item in ast.parse(path.read_text()).body:
            if isinstance(item, ast.FunctionDef) and item.name.endswith("_command"):
                line = (ast.get_docstring(item) or "").splitlines()[0]
                expected.add((item.name.removesuffix("_command").replace("_", "-"), f"heredity.cli.{path.stem}", line))
    assert found == expected
    assert {name for name, _, _ in found} >= set(WITH_EXAMPLES.split())


@pytest.mark.parametrize("name", WITH_EXAMPLES.split())
def test_each_command_has_help_with_an_example_and_its_json(name):
    out = CliRunner().invoke(app, [name, "--help"]).output
    assert f"Example: heredity {name}" in out and "JSON" in out and "--json" in out and "--lab" in out


@pytest.mark.parametrize("command", [command for command in READING if command[0] != "log"])
def test_json_has_the_members_that_the_help_names(run, command):
    documented = CliRunner().invoke(app, [command[0], "--help"], env={"COLUMNS": "400"}).output
    documented = documented.split("JSON")[1].split("Example:")[0]
    for member in run(*command, "--json").json:
        in_every_birth = "as in log" in documented and member in BIRTH
        assert in_every_birth or re.search(rf"\b{member}\b", documented), member


def in_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
    )


def test_help_and_reading_commands_import_no_heavy_library(family):
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from heredity.cli.main import app\n"
        f"for command in (['--help'], *{READING!r}):\n"
        "    where = [] if command == ['--help'] else ['--lab', sys.argv[1]]\n"
        "    for extra in ([], ['--json'] if where else ['-h']):\n"
        "        ended = CliRunner().invoke(app, command + where + extra)\n"
        "        assert ended.exit_code == 0, (command, ended.output)\n"
        "print(sorted({'torch', 'numpy', 'transformers', 'yaml'} & set(sys.modules)))"
    )
    assert in_python(code, str(family.path)).stdout.strip() == "[]"


def test_json_is_one_value_and_nothing_else(run):
    for command in READING:
        ended = run(*command, "--json")
        assert ended.code == 0 and ended.err == "" and ended.out.count("\n") == 1
        assert ended.json is not None


def test_the_version():
    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"heredity {heredity.__version__}"


def test_an_unknown_command_names_the_nearest():
    ended = CliRunner().invoke(app, ["lgo"])
    assert ended.exit_code == 2 and "log" in ended.output


@pytest.fixture
def failing(monkeypatch):
    """A command `log` that raises what it is told to."""

    def with_error(error: BaseException) -> None:
        def log_command() -> None:
            raise error

        monkeypatch.setattr("heredity.cli.log.log_command", log_command)
        monkeypatch.setattr(sys, "argv", ["heredity", "log"])

    return with_error


def test_errors_become_one_line_and_an_exit_code(failing, capsys):
    failure = BirthFailed("Train failed\non birth ab")
    failure.add_note("parents: cd")
    for error, code in ((LabError("no such lab"), 2), (failure, 1)):
        failing(error)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
    said = capsys.readouterr().err
    assert said == "heredity: no such lab\nheredity: Train failed\\non birth ab\n          parents: cd\n"


def test_defects_show_no_traceback_unless_asked(failing, capsys, monkeypatch):
    failing(ZeroDivisionError("oops"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: oops" in said and "HEREDITY_DEBUG=1" in said and "Traceback" not in said
    monkeypatch.setenv("HEREDITY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main()
    failing(LabError("no such lab"))
    with pytest.raises(LabError):
        main()


def test_an_interrupt_ends_with_a_sentence(failing, capsys):
    failing(KeyboardInterrupt())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + signal.SIGINT and "what was recorded stays" in capsys.readouterr().err


def test_exits_of_commands_are_kept(failing):
    failing(typer.Exit(7))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 7


def test_a_closed_pipe_is_silent(family):
    command = [sys.executable, "-m", "heredity", "log", "--all", "--lab", str(family.path)]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert ended.stderr == ""
