"""The one loop of evolution: ask a searcher, bear and measure its candidates, tell.

`Evolution(lab, searcher, birth=…, probe=…, metric="accuracy", direction="maximize").run()` is a search whose every
candidate is a recorded birth. Killed and run again it goes on, and ends as if it had never been killed: the searcher is
asked and told again, and what is recorded is recalled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, get_args

from heredity.errors import LabError
from heredity.lab.canonical import digest
from heredity.lab.dispatch import Dispatch
from heredity.lab.evolved import Direction, Evolved, Mode, as_tuple
from heredity.lab.flow import Flow
from heredity.lab.loop import WINDOW, Loop
from heredity.lab.model import Model
from heredity.lab.operator import Probe, Request
from heredity.lab.told import Told, fingerprint

if TYPE_CHECKING:
    from heredity.lab.executors import Executor
    from heredity.lab.lab import Lab


class Searcher(Protocol):
    """What the loop needs of a searcher; see `heredity.search.base.Searcher`. Candidates have an `id` and a `value`."""

    def ask(self, n: int | None = None) -> Sequence[Any]: ...
    def tell(self, candidates: Sequence[Any], outcomes: Sequence[Any]) -> None: ...
    @property
    def best(self) -> tuple[Any, Any] | None: ...
    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Evolution:
    """A search over the births of a lab.

    Args:
        lab: where births and measurements are recorded, and recalled from.
        searcher: maximises; it goes on from where it is.
        birth: candidate → `Request` (or tuple) of its birth, or an existing model to be measured as it is. It must
            depend on the candidate alone, and on the models of candidates told before (`model`).
        probe: one or several; their values are put together.
        metric: the value to search for; several for a searcher of several objectives.
        direction: of each metric; there is no default, for half of all metrics are losses.
        mode: "generational" tells the natural batch when all of it is done. "steady" keeps `in_flight` candidates on
            the way and tells them in the order of asking, so that the result does not depend on the workers.
            "asynchronous" tells in the order of completion, which is recorded: a search run again goes the same way.
        in_flight: of a steady search 16 by default, and part of its result; of an asynchronous one by default twice
            as many as there are workers.
        executor: another one than the lab's.
        name: what the births are labelled with, and what an asynchronous search's order is recorded under.
        evaluations: how many candidates to tell, failed ones included; None for as many as the searcher proposes.
        also: further values that are told as they are, e.g. descriptors.
        seed: of the evaluations. Candidate → seed where they are noisy and each should be a draw of its own, such as
            `lambda candidate: candidate.id`; with one seed for all, the same model is evaluated once and then recalled.
        replay: tell strictly in the recorded order of an asynchronous search, this lab's or another's, and stop at its
            end.

    Raises:
        LabError: arguments do not fit each other.
    """

    def __init__(
        self,
        lab: Lab,
        searcher: Searcher,
        *,
        birth: Callable[[Any], Request | tuple[Any, ...] | Model],
        probe: Probe | Sequence[Probe],
        metric: str | Sequence[str],
        direction: Direction | Sequence[Direction],
        mode: Mode = "generational",
        in_flight: int | None = None,
        executor: str | Executor | None = None,
        name: str = "search",
        evaluations: int | None = 500,
        also: Sequence[str] = (),
        seed: int | Callable[[Any], int] = 0,
        replay: bool | Lab = False,
    ) -> None:
        self.lab, self.searcher, self.birth = lab, searcher, birth
        self.probes = (probe,) if isinstance(probe, Probe) else tuple(probe)
        self.metrics, self.directions = as_tuple(metric), as_tuple(direction)
        self.mode, self.name, self.also, self.seed = mode, name, tuple(also), seed
        self.executor, self.replay = executor, replay
        self.report: Callable[[Evolved], None] = _silent
        self._begun = False
        self._check(in_flight, evaluations)
        self.result = Evolved(
            name=name,
            metric=metric if isinstance(metric, str) else self.metrics,
            direction=self.directions[0] if isinstance(metric, str) else self.directions,
            mode=mode,
            in_flight=0 if mode == "generational" else in_flight or self._default_window(),
            evaluations=evaluations,
        )

    def _check(self, in_flight: int | None, evaluations: int | None) -> None:
        if self.mode not in get_args(Mode):
            raise LabError(f"mode {self.mode!r}: use {', '.join(get_args(Mode))}")
        if len(self.metrics) != len(self.directions) or not set(self.directions) <= set(get_args(Direction)):
            raise LabError(
                f'direction must be "maximize" or "minimize" for each of {", ".join(self.metrics)}, '
                f"got {self.directions}"
            )
        if self.mode == "generational" and in_flight is not None:
            raise LabError("a generational search asks for the natural batch: leave in_flight out")
        if self.replay and self.mode != "asynchronous":
            raise LabError(f"only an asynchronous search is replayed; a {self.mode} one repeats itself when run again")
        for what, count in (("in_flight", in_flight), ("evaluations", evaluations)):
            if count is not None and count < 1:
                raise LabError(f"{what} is {count}; give at least 1")

    def _default_window(self) -> int:
        if self.mode == "steady":
            return WINDOW
        return 2 * self.lab.executor(self.executor).slots  # so that every worker finds a next one waiting

    def model(self, candidate: int) -> Model:
        """The model of a candidate that was told, for `birth` to name as a parent.

        Raises:
            LabError: its birth failed, or it was not told.
        """
        if candidate not in self.result.births:
            raise LabError(f"candidate {candidate} of {self.name!r} has no model: it failed, or was not told yet")
        return self.lab[self.result.births[candidate]]

    def run(self, report: Callable[[Evolved], None] | None = None) -> Evolved:
        """Search to the end of the budget.

        Args:
            report: called at the beginning and after each tell; `print` will do.

        Raises:
            EvaluationFailed: the searcher says that all have failed; run again, it tries those again.
            LabError: the recorded order is another search's, or an asynchronous search is being run by somebody else.
        """
        if self._begun:
            raise LabError(f"{self.name!r} has been run; to go on, make the searcher and the Evolution again")
        self._begun, self.report = True, report or _silent
        dispatch = Dispatch(self.lab, self.probes)
        identity = {
            "search": self.name,
            "mode": self.mode,
            "window": self.result.in_flight if self.mode == "steady" else None,
            "searcher": f"{type(self.searcher).__module__}:{type(self.searcher).__qualname__}",
            "state": fingerprint(self.searcher.state_dict()),
            "probes": list(dispatch.forms),
            "aims": [list(self.metrics), list(self.directions)],
            **({"seed": self.seed if isinstance(self.seed, int) else "by candidate"} if self.seed else {}),
        }
        search = digest(identity)[:16]
        lease = f"{search}-search"
        alone = self.mode == "asynchronous" and self.lab.writable
        if alone and not self.lab.leases.acquire(lease, []):
            raise LabError(f"the search {self.name!r} is being run by another process; wait for it, or name this one")
        try:
            self.lab.index.refresh()
            with Flow(dispatch, self.executor) as flow:
                Loop(self, dispatch, flow, Told(self.lab, search)).run()
        except KeyboardInterrupt as stop:
            limit = "" if self.result.evaluations is None else f" of {self.result.evaluations}"
            stop.add_note(
                f"{self.name}: stopped after {self.result.told}{limit} evaluations; every birth that ended is recorded "
                f"in {self.lab.path}, run the same again to go on"
            )
            raise
        finally:
            if alone:
                self.lab.leases.release(lease)
        return self.result


def _silent(result: Evolved) -> None:
    """Report nothing."""
