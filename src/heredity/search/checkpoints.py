"""States of trainings by candidate, in memory or in a folder, kept for as long as a search may ask for them."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from heredity.search.pbt import PBT
from heredity.search.training_state import pack, unpack


class Checkpoints:
    """A store.

    Args:
        folder: where states (safetensors with a JSON form) and the search's own state (JSON) lie; None for memory.

    What `PBT.needed` names is kept; all else is forgotten after each tell.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._held: dict[int, Any] = {}
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, candidate: int, state: Any) -> None:
        """Keep a copy of a state; None of a round that has none."""
        if state is None:
            return
        if self.folder is None:
            self._held[candidate] = copy.deepcopy(state)
            return
        tensors, form = pack(state)
        path = self._path(candidate)
        save_file(tensors, path.with_suffix(".new"), metadata={"form": json.dumps(form, allow_nan=False)})
        path.with_suffix(".new").replace(path)

    def get(self, candidate: int) -> Any:
        """A copy of a kept state.

        Raises:
            LookupError: it is gone.
        """
        if self.folder is None:
            if candidate not in self._held:
                raise LookupError(f"the checkpoint of candidate {candidate} is gone; a donor's must be kept")
            return copy.deepcopy(self._held[candidate])
        path = self._path(candidate)
        if not path.exists():
            raise LookupError(f"the checkpoint of candidate {candidate} is gone: {path} is missing; a donor's is kept")
        with safe_open(path, framework="pt") as file:
            form = json.loads(file.metadata()["form"])
            return unpack({name: file.get_tensor(name) for name in file.keys()}, form)  # noqa: SIM118 - not a dict

    def resume(self, pbt: PBT) -> None:
        """Let a search go on from the folder, where something is in it.

        Raises:
            ValueError: another search wrote it.
        """
        if self.folder is not None and (path := self.folder / "search.json").exists():
            pbt.load_state_dict(json.loads(path.read_text()))

    def write(self, pbt: PBT) -> None:
        """Write the search's state down, then forget what it does not need."""
        needed = pbt.needed
        self._held = {i: state for i, state in self._held.items() if i in needed}
        if self.folder is None:
            return
        new = self.folder / "search.new"
        with new.open("w") as file:
            json.dump(pbt.state_dict(), file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.folder / "search.json")
        for path in self.folder.glob("candidate-*.safetensors"):
            if int(path.stem.partition("-")[2]) not in needed:
                path.unlink()

    def _path(self, candidate: int) -> Path:
        assert self.folder is not None
        return self.folder / f"candidate-{candidate}.safetensors"
