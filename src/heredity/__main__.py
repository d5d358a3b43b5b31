"""`python -m heredity` is the command `heredity`."""

from __future__ import annotations

from heredity.cli.main import main

if __name__ == "__main__":
    main()
