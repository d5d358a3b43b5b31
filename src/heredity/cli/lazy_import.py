"""A module that is executed when something of it is first used, for commands that may not need a slow one.

`importlib.util.LazyLoader` does not do: before Python 3.12 a second `import` of the module executes it.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


def import_lazily(name: str) -> None:
    """Let `import name`, anywhere, give a module that is executed on first use; nothing where it is already imported.

    Submodules and `from name import …` are uses. Two threads must not be the first at once.
    """
    if name in sys.modules or (spec := importlib.util.find_spec(name)) is None:
        return
    module = _Waiting(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    sys.modules[name] = module


class _Waiting(ModuleType):
    def __getattr__(self, attribute: str) -> Any:
        """Called for what the module does not have yet, `__path__` of a package included."""
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # it waits no more
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        self.__package__ = spec.parent
        spec.loader.exec_module(self)
        return getattr(self, attribute)
