"""Print the largest source files and the size of the change; fail over the hard cap of 400 lines.

Usage: python bench/size.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HARD_CAP = 400
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Exit code 1 when a source file is over the cap."""
    sizes = sorted(((len(p.read_text().splitlines()), p) for p in (ROOT / "src").rglob("*.py")), reverse=True)
    total = sum(size for size, _ in sizes)
    print(f"{len(sizes)} source files, {total:,} lines; the largest:")
    for size, path in sizes[:5]:
        print(f"  {size:4d}  {path.relative_to(ROOT)}")
    change = subprocess.run(
        ["git", "diff", "--shortstat", "HEAD~1", "--", "src"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if change.stdout.strip():
        print(f"last change to src:{change.stdout.rstrip()}")
    over = [(size, path) for size, path in sizes if size > HARD_CAP]
    for size, path in over:
        print(f"{path.relative_to(ROOT)} has {size} lines, over the cap of {HARD_CAP}: split it", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
