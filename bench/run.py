"""Run the benchmarks one after another; each writes results/bench/<name>.json.

Usage: python bench/run.py [name ...]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_BENCHMARKS = {"merge_comparison", "run", "size", "machine"}


def main() -> int:
    """Exit code of the last benchmark that failed, or 0."""
    found = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    asked = sys.argv[1:] or found
    unknown = [name for name in asked if name not in found]
    if unknown:
        print(f"no benchmark is called {unknown[0]!r}; there are {', '.join(found)}", file=sys.stderr)
        return 2
    code = 0
    for name in asked:
        print(f"\n{name}", flush=True)
        code = subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=False).returncode or code
    return code


if __name__ == "__main__":
    sys.exit(main())
