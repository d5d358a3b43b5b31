"""A module that waits is executed by its first use, once, and is the module that everybody has."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "__init__.py").write_text("print('executed')\nanswer = 42\n")
    (folder / "part.py").write_text("import slow\nhalf = slow.answer // 2\n")
    return tmp_path


PREPARE = """
from heredity.cli.lazy_import import import_lazily
import_lazily("slow")
import slow
import slow as again
print("waiting")
"""


@pytest.mark.parametrize(
    "use",
    ["print(slow.answer)", "from slow import answer; print(again.answer)", "import slow.part; print(slow.answer)"],
)
def test_the_first_use_executes_it(package: Path, use: str) -> None:
    assert run(PREPARE + use, package).split() == ["waiting", "executed", "42"]


def test_submodules_find_it_executed(package: Path) -> None:
    assert run(PREPARE + "from slow.part import half; print(half)", package).split() == ["waiting", "executed", "21"]


def test_a_module_that_is_there_or_nowhere_is_left_alone(package: Path) -> None:
    code = """
    import sys, slow
    from heredity.cli.lazy_import import import_lazily
    import_lazily("slow"), import_lazily("nowhere")
    print(sys.modules["slow"] is slow, "nowhere" in sys.modules)
    """
    assert run(code, package).split() == ["executed", "True", "False"]


@pytest.mark.parametrize(
    ("method", "dtype", "loads"),
    [
        ("linear", "bfloat16", False),
        ("linear", "float32", False),
        ("linear", "float16", True),
        ("ties", "float32", True),
    ],
)
def test_a_merge_that_only_adds_up_does_not_load_torch(tmp_path: Path, method: str, dtype: str, loads: bool) -> None:
    for seed, name in enumerate(("base", "a", "b")):
        (tmp_path / name).mkdir()
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(5, 3, generator=generator).to(getattr(torch, dtype))
        save_file({"w": weights}, tmp_path / name / "model.safetensors")
    base = "base_model: base\n" if method == "ties" else ""
    models = "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 2}}]\n"
    (tmp_path / "c.yml").write_text(f"merge_method: {method}\n{base}{models}")
    code = """
    import atexit, sys
    atexit.register(lambda: print("torch._C" in sys.modules))
    sys.argv = ["heredity", "merge", "c.yml", "out"]
    from heredity.cli.main import main
    main()
    """
    assert run(code, tmp_path).split()[-1] == str(loads)
