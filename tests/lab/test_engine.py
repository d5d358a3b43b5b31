from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from species import Judge, Logged, Norm, Plant, Raises, Where

import heredity as hd
from heredity.errors import EvaluationFailed, LabError
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import flow
from heredity.lab.dispatch import Dispatch
from heredity.lab.executors import Executor, Inline, Processes
from heredity.lab.told import Told
from heredity.search.base import Candidate, Searcher
from heredity.search.box import Box
from heredity.search.deep_ga import DeepGA
from heredity.search.evolution import RegularizedEvolution
from heredity.search.random_search import RandomSearch
from heredity.search.seedchain import SeedChain
from heredity.search.snes import SNES

BOX = Box(-2.0, 3.0, dim=3)
SEARCHERS = {
    "snes": lambda: SNES(BOX, population=4, seed=1),
    "regularized": lambda: RegularizedEvolution(BOX, population=5, tournament=2, seed=2),
    "random": lambda: RandomSearch(BOX, seed=3),
}


def plant(candidate: Candidate[Any]) -> hd.Request:
    """The vector itself as a model."""
    return hd.Request(Plant(torch.from_numpy(candidate.value)))


def norm(x: np.ndarray) -> float:
    """What the probe measures, bit for bit."""
    return float(torch.from_numpy(x).double().pow(2).sum())


def search(lab: hd.Lab, searcher: Searcher[Any], **options: Any) -> hd.Evolution:
    given = {"birth": plant, "probe": Norm(), "metric": "norm", "direction": "minimize", "evaluations": 22}
    return hd.Evolution(lab, searcher, **{**given, **options})


def births(lab: hd.Lab) -> dict[str, str]:
    return {model.id: model.weights_sha256 for model in lab.models()}


@pytest.mark.parametrize("kind", SEARCHERS)
def test_the_engine_does_what_ask_tell_and_run_do(lab: hd.Lab, kind: str) -> None:
    seen: list[list[float]] = []

    def function(x: np.ndarray) -> float:
        seen.append(x.tolist())
        return norm(x)

    run = SEARCHERS[kind]().run(function, 22, direction="minimize")
    result = search(lab, SEARCHERS[kind]()).run()
    assert result.told == len(seen) == 22
    assert [lab[result.births[i]].weights()["w"].tolist() for i in sorted(result.births)] == seen
    assert result.best is not None
    assert run.best is not None
    assert (result.value, result.best.weights()["w"].tolist()) == (run.value, run.best.tolist())
    assert result.value == result.best.value("norm") == min(norm(np.array(x)) for x in seen)
    assert result.history == run.history
    hand = SEARCHERS[kind]()
    told = 0
    while told < 22:
        candidates = hand.ask()[: 22 - told]
        hand.tell(candidates, [-norm(candidate.value) for candidate in candidates])
        told += len(candidates)
    assert hand.best is not None
    assert (hand.best[0].value.tolist(), -hand.best[1]) == (run.best.tolist(), result.value)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["generational", "steady"])
@pytest.mark.parametrize("kind", ["snes", "regularized"])
def test_workers_do_not_change_the_result(tmp_path: Path, mode: Any, kind: str) -> None:
    found = []
    window = 3 if mode == "steady" else None
    more = ("processes:1", "processes:2") if (kind, mode) == ("regularized", "steady") else ()
    for executor in ("inline", "processes:4", *more):
        with hd.Lab(tmp_path / executor.replace(":", ""), executor) as lab:
            result = search(lab, SEARCHERS[kind](), mode=mode, in_flight=window).run()
            assert result.best is not None
            found.append((births(lab), result.births, result.best.id, result.value, result.history))
    assert len(found[0][0]) == 22
    assert found[1:] == found[:1] * (1 + len(more))


def test_the_window_is_part_of_a_steady_result(tmp_path: Path) -> None:
    found = []
    for number, window in enumerate((1, 4, 4)):
        with hd.Lab(tmp_path / str(number)) as lab:
            found.append(search(lab, SEARCHERS["regularized"](), mode="steady", in_flight=window).run().births)
    assert found[1] == found[2] != found[0]


class Watched(RandomSearch[Any]):
    """Random search that notes who was asked and told."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(BOX, seed)
        self.log: list[str] = []
        self.outcomes: list[Any] = []

    def ask(self, n: int | None = None) -> list[Candidate[Any]]:
        asked = super().ask(n)
        self.log += [f"ask {candidate.id}" for candidate in asked]
        return asked

    def tell(self, candidates: Sequence[Candidate[Any]], outcomes: Sequence[Any]) -> None:
        self.log += [f"tell {candidate.id}" for candidate in candidates]
        self.outcomes += outcomes
        super().tell(candidates, outcomes)


def test_a_steady_search_asks_one_for_every_one_that_it_tells(lab: hd.Lab) -> None:
    searcher = Watched()
    search(lab, searcher, mode="steady", in_flight=2, evaluations=4).run()
    assert " ".join(searcher.log) == "ask 0 ask 1 tell 0 ask 2 tell 1 ask 3 tell 2 tell 3"


@pytest.mark.slow
def test_steady_tells_wait_for_those_before_and_asynchronous_ones_do_not(tmp_path: Path) -> None:
    def slow_first(candidate: Candidate[Any]) -> hd.Request:
        return hd.Request(Logged(os.devnull, float(candidate.id), 1.0 if candidate.id == 0 else 0.0))

    told = {}
    for mode in ("steady", "asynchronous"):
        with hd.Lab(tmp_path / mode, "processes:2") as lab:
            lab.derive_all([(Logged(os.devnull, -1.0, 0.3),), (Logged(os.devnull, -2.0, 0.3),)])  # both workers are up
            searcher = Watched()
            search(lab, searcher, birth=slow_first, mode=mode, in_flight=3, evaluations=6).run()
            told[mode] = [entry for entry in searcher.log if entry.startswith("tell")]
    assert told["steady"] == [f"tell {i}" for i in range(6)]
    assert told["asynchronous"].index("tell 0") > 1
    assert sorted(told["asynchronous"]) == told["steady"]


class Reversed(Executor):
    """Runs tasks here, `size` at a time and some ahead, and hands them back the last one first."""

    def __init__(self, lab: hd.Lab, size: int, ahead: int = 0) -> None:
        self.inline, self.size, self.more = Inline(lab.blobs), size, ahead
        self.tasks: list[Any] = []
        self.most: list[int] = []

    @property
    def slots(self) -> int:
        return self.size

    @property
    def ahead(self) -> int:
        return self.more

    def submit(self, task: Any) -> None:
        self.tasks.append(task)
        self.most.append(len(self.tasks))

    def wait(self, timeout: float | None = None) -> list[Any]:
        if not self.tasks:
            return []
        self.inline.submit(self.tasks.pop())
        return self.inline.wait()

    def close(self, *, now: bool = False) -> None:
        self.tasks.clear()


def told_order(lab: hd.Lab) -> list[int]:
    rows = lab.index.query("SELECT DISTINCT id FROM events WHERE t = 'told'")
    return [entry.candidate for row in rows for entry in Told(lab, row[0]).entries]


def test_an_asynchronous_search_is_replayed_as_it_went(tmp_path: Path) -> None:
    options = {"mode": "asynchronous", "in_flight": 4}
    with hd.Lab(tmp_path / "one") as lab:
        first = search(lab, SEARCHERS["regularized"](), executor=Reversed(lab, 4), **options).run()
        made, order = births(lab), told_order(lab)
        assert sorted(order) == list(range(22)) != order
        again = search(lab, SEARCHERS["regularized"](), mode="asynchronous", in_flight=1).run()
        assert (again.births, again.value, again.history) == (first.births, first.value, first.history)
        assert (births(lab), told_order(lab), again.idle) == (made, order, None)  # nothing was run, nothing recorded
        with hd.Lab(tmp_path / "two") as other:
            replayed = search(other, SEARCHERS["regularized"](), mode="asynchronous", replay=lab).run()
            assert births(other) == made
            assert told_order(other) == order
            assert (replayed.births, replayed.value, replayed.history) == (first.births, first.value, first.history)
        with hd.Lab(tmp_path / "three") as other:  # inline goes another way
            search(other, SEARCHERS["regularized"](), **options).run()
            assert births(other) != made
            with pytest.raises(LabError, match=r"no order of a search 'search' .* is recorded"):
                search(other, SEARCHERS["random"](), mode="asynchronous", replay=True).run()


class Stop(Exception):
    pass


def stopping(after: int) -> Any:
    def report(result: hd.Evolved) -> None:
        if result.told == after:
            raise Stop

    return report


@pytest.mark.parametrize("window", [2, 5, 9])
def test_an_asynchronous_search_that_was_broken_off_goes_on_from_what_is_recorded(tmp_path: Path, window: int) -> None:
    with hd.Lab(tmp_path / "lab") as lab:
        part = search(lab, SEARCHERS["regularized"](), mode="asynchronous", in_flight=5, executor=Reversed(lab, 5))
        with pytest.raises(Stop):
            part.run(stopping(9))
        before = told_order(lab)
        assert len(before) == 9
        rest = search(lab, SEARCHERS["regularized"](), mode="asynchronous", in_flight=window).run()
        assert told_order(lab)[:9] == before
        assert sorted(told_order(lab)) == list(range(22))
        assert {i: rest.births[i] for i in part.result.births} == part.result.births
        assert rest.history[:9] == part.result.history
        for other in (1, 7):  # any later run repeats it, whatever its window
            again = search(lab, SEARCHERS["regularized"](), mode="asynchronous", in_flight=other).run()
            assert (again.births, again.history) == (rest.births, rest.history)
        more = search(lab, SEARCHERS["regularized"](), mode="asynchronous", in_flight=window, evaluations=30).run()
        assert more.history[:22] == rest.history
        less = search(lab, SEARCHERS["regularized"](), mode="asynchronous", evaluations=9).run()
        assert sorted(less.births) == list(range(9))


def test_other_candidates_than_the_recorded_ones_are_refused(lab: hd.Lab) -> None:
    search(lab, RandomSearch(BOX), mode="asynchronous").run()

    def other(candidate: Candidate[Any]) -> hd.Request:
        return hd.Request(Plant(torch.from_numpy(candidate.value)), seed=1)

    with pytest.raises(LabError, match=r"'search' was recorded with other candidates .* candidate 0 was"):
        search(lab, RandomSearch(BOX), birth=other, mode="asynchronous").run()
    assert search(lab, RandomSearch(BOX), birth=other, mode="asynchronous", name="another").run().told == 22


def test_a_search_that_is_running_is_left_alone(lab: hd.Lab, tmp_path: Path) -> None:
    def report(result: hd.Evolved) -> None:
        if result.told == 3:
            with (
                hd.Lab(tmp_path / "lab") as other,
                pytest.raises(LabError, match="'search' is being run by another process"),
            ):
                search(other, RandomSearch(BOX), mode="asynchronous").run()

    assert search(lab, RandomSearch(BOX), mode="asynchronous").run(report).told == 22
    assert not list((lab.path / "leases").glob("[!.]*"))


# Failures


def one_in_three(candidate: Candidate[Any]) -> hd.Request:
    return plant(candidate) if candidate.id % 3 else hd.Request(Raises(), seed=candidate.id)


@pytest.mark.parametrize("mode", ["generational", "steady", "asynchronous"])
def test_failures_are_told_recorded_and_not_tried_again(lab: hd.Lab, mode: Any) -> None:
    window = None if mode == "generational" else 4
    first = search(lab, SEARCHERS["snes"](), birth=one_in_three, mode=mode, in_flight=window).run()
    assert sorted(first.failures) == list(range(0, 22, 3))
    assert "RuntimeError: out of luck" in first.failures[0]
    assert first.births.keys() == set(range(22)) - first.failures.keys()
    watched = Watched()
    search(lab, watched, birth=one_in_three, mode=mode, in_flight=window, evaluations=6, name="w").run()
    assert [type(outcome) for outcome in watched.outcomes] == [Failed, Ok, Ok, Failed, Ok, Ok]
    with hd.Lab(lab.path, mode="r") as closed:  # nothing has to be run, nothing to be written
        again = search(closed, SEARCHERS["snes"](), birth=one_in_three, mode=mode, in_flight=window).run()
    assert (again.births, again.failures, again.history) == (first.births, first.failures, first.history)


@pytest.mark.parametrize("mode", ["generational", "steady", "asynchronous"])
def test_when_all_fail_the_search_ends_and_tries_again_when_run_again(lab: hd.Lab, tmp_path: Path, mode: Any) -> None:
    sick, log = tmp_path / "sick", tmp_path / "log"
    sick.touch()
    options: dict[str, Any] = {"probe": Judge("raise", str(log), str(sick)), "metric": "fitness", "mode": mode}
    options["in_flight"] = None if mode == "generational" else 2
    with pytest.raises(EvaluationFailed, match="all 4 candidates of generation 0 failed"):
        search(lab, SEARCHERS["snes"](), **options).run()
    assert len(log.read_text().split()) == 4
    sick.unlink()
    result = search(lab, SEARCHERS["snes"](), **options).run()
    assert (result.told, result.value, result.failures) == (22, 0.5, {})
    nothing = {**options, "birth": lambda c: hd.Request(Raises(), seed=c.id)}
    with pytest.raises(EvaluationFailed, match=r"none of the 3 candidates of 'search' has a value; .* out of luck"):
        search(lab, RandomSearch(BOX), **{**nothing, "evaluations": 3, "in_flight": options["in_flight"] and 9}).run()


def test_one_failure_is_no_batch_of_failures(lab: hd.Lab) -> None:
    # Random search counts a tell as a batch, and proposes one at a time by itself.
    for mode, window in (("generational", None), ("steady", 2)):
        result = search(lab, RandomSearch(BOX), birth=one_in_three, mode=mode, in_flight=window, name=mode).run()
        assert (result.told, len(result.failures)) == (22, 8)
    with pytest.raises(EvaluationFailed, match="all 1 candidates told failed; the first was candidate 15"):
        search(lab, RandomSearch(BOX), birth=lambda c: hd.Request(Raises(), seed=c.id)).run()  # 16 in a row


# Several objectives, other values


@dataclass(frozen=True)
class Corner(hd.Probe):
    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        first, second, _ = model.weights()["w"].tolist()
        return {"first": first, "second": second}


def test_several_objectives_are_told_with_their_signs(lab: hd.Lab) -> None:
    searcher = Watched()
    options: dict[str, Any] = {"metric": ("norm", "first"), "direction": ("minimize", "maximize"), "also": ("second",)}
    options["probe"] = (Norm(), Corner())

    class Objectives(Watched):
        def tell(self, candidates: Sequence[Candidate[Any]], outcomes: Sequence[Any]) -> None:
            self.metric = "first"
            super().tell(candidates, outcomes)

    searcher = Objectives()
    lines: list[str] = []
    result = search(lab, searcher, **options).run(lambda result: lines.append(str(result)))
    x = [lab[result.births[i]].weights()["w"].numpy() for i in range(22)]
    assert [dict(outcome.values) for outcome in searcher.outcomes] == [
        {"norm": -norm(v), "first": v[0], "second": v[1]} for v in x
    ]
    points = [(norm(v), v[0]) for v in x]
    front = {
        i for i, (n, f) in enumerate(points) if not any(n2 <= n and f2 >= f and (n2, f2) != (n, f) for n2, f2 in points)
    }
    assert {i for i, _ in result.front} == front
    assert all(values == points[i] for i, values in result.front)
    assert (result.best, result.direction) == (None, ("minimize", "maximize"))
    assert lines[0] == "search: minimize norm, maximize first; generational; 0 of 22 evaluations"
    assert lines[-1].startswith(f"search: 22 of 22 evaluations, {len(front)} on the front, 0 failed")


def test_what_is_not_measured_is_named(lab: hd.Lab) -> None:
    with pytest.raises(LabError, match="the probes of 'search' measure norm, not 'accuracy'"):
        search(lab, RandomSearch(BOX), metric="accuracy").run()
    with pytest.raises(LabError, match="two probes measure 'norm'"):
        search(lab, RandomSearch(BOX), probe=(Norm(), Norm2())).run()


@dataclass(frozen=True)
class Norm2(Norm):
    pass


# What the record shows


@dataclass(frozen=True, slots=True)
class Islander:
    id: int
    value: Any
    island: int


class Islands(RandomSearch[Any]):
    generation = 7

    def ask(self, n: int | None = None) -> list[Any]:
        return [Islander(c.id, c.value, c.id % 2) for c in super().ask(n)]


def test_births_are_labelled_and_descend_from_what_birth_names(lab: hd.Lab) -> None:
    root = lab.add({"w": torch.zeros(3, dtype=torch.float64)})

    def child(candidate: Any) -> hd.Request:
        before = evolution.model(candidate.id - 1) if candidate.id else root
        return hd.Request(
            Plant(torch.from_numpy(candidate.value)), (before,), labels={"mine": True, "search": "my own"}
        )

    evolution = search(lab, RandomSearch(BOX), birth=child, name="line", evaluations=4)
    result = evolution.run()
    assert result.best is not None
    last = lab[result.births[3]]
    assert [model.id for model in last.path()] == [root.id, *(result.births[i] for i in range(4))]
    assert last.labels == {
        "search": "my own",
        "aim": "minimize norm",
        "candidate": 3,
        "generation": 3,
        "mine": True,
    }
    islands = search(lab, Islands(BOX, seed=5), evaluations=2, name="isles").run()
    found = [lab[islands.births[i]].labels for i in (0, 1)]
    rest = {"search": "isles", "aim": "minimize norm", "generation": 7}
    assert found == [{**rest, "candidate": i, "island": i} for i in (0, 1)]
    with pytest.raises(LabError, match="candidate 9 of 'line' has no model"):
        evolution.model(9)
    with pytest.raises(LabError, match="'line' has been run"):
        evolution.run()


def test_existing_models_and_equal_births_are_candidates_too(lab: hd.Lab) -> None:
    known = [lab.add({"w": torch.full((2,), float(n))}) for n in (3, 1, 2)]
    result = search(lab, RandomSearch(BOX), birth=lambda c: known[c.id % 3], mode="steady", in_flight=5).run()
    assert result.best == known[1]
    assert (result.value, result.told, len(lab)) == (2.0, 22, 3)
    same = search(lab, RandomSearch(BOX), birth=lambda c: (Plant(torch.ones(3)),), mode="steady", in_flight=5).run()
    assert len(set(same.births.values())) == 1


def test_a_searcher_that_has_nothing_left_ends_the_search(lab: hd.Lab) -> None:
    class Few(RandomSearch[Any]):
        def ask(self, n: int | None = None) -> list[Candidate[Any]]:
            return super().ask(min(1 if n is None else n, 5 - self._next))

    for mode in ("generational", "steady"):
        lines: list[str] = []
        options: dict[str, Any] = {"mode": mode, "evaluations": None if mode == "steady" else 9}
        result = search(lab, Few(BOX), **options).run(lambda result: lines.append(str(result)))  # noqa: B023
        assert (result.told, result.exhausted) == (5, True)
        assert lines[-1].endswith("nothing left to propose")


def test_a_searcher_that_comes_with_a_best_keeps_it(lab: hd.Lab) -> None:
    searcher = RandomSearch(BOX, seed=3)
    candidates = searcher.ask(40)
    searcher.tell(candidates, [-norm(candidate.value) for candidate in candidates])
    assert searcher.best is not None
    before = searcher.best
    result = search(lab, searcher, evaluations=1).run()
    assert result.best is not None
    assert (result.value, result.best.weights()["w"].tolist()) == (-before[1], before[0].value.tolist())


def test_stopping_says_how_to_go_on(lab: hd.Lab) -> None:
    def report(result: hd.Evolved) -> None:
        if result.told == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stop:
        search(lab, RandomSearch(BOX), mode="steady", in_flight=2).run(report)
    (note,) = stop.value.__notes__
    assert note == (
        f"search: stopped after 3 of 22 evaluations; every birth that ended is recorded in {lab.path}, "
        "run the same again to go on"
    )
    assert not list((lab.path / "leases").glob("[!.]*"))
    whole = search(lab, RandomSearch(BOX), mode="steady", in_flight=2).run()
    assert whole.told == 22


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "lazy"}, "mode 'lazy': use generational, steady, asynchronous"),
        ({"direction": "up"}, 'direction must be "maximize" or "minimize" for each of norm'),
        ({"metric": ("norm", "size")}, 'direction must be "maximize" or "minimize" for each of norm, size'),
        ({"in_flight": 3}, "leave in_flight out"),
        ({"mode": "steady", "in_flight": 0}, "in_flight is 0; give at least 1"),
        ({"evaluations": 0}, "evaluations is 0; give at least 1"),
        ({"replay": True}, "only an asynchronous search is replayed; a generational one repeats itself"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(lab: hd.Lab, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LabError, match=message):
        search(lab, RandomSearch(BOX), **options)


@pytest.mark.slow
def test_a_birth_may_ask_the_lab_for_more_while_others_run(tmp_path: Path) -> None:
    with hd.Lab(tmp_path / "lab", "processes:2") as lab:

        def child(candidate: Candidate[Any]) -> hd.Request:
            parent = lab.derive(Logged(os.devnull, 1000.0 + candidate.id))
            assert lab.measure(Norm(), parent)["norm"] > 0
            return hd.Request(Plant(torch.from_numpy(candidate.value)), (parent,))

        result = search(lab, RandomSearch(BOX), birth=child, mode="asynchronous", in_flight=5).run()
        assert (result.told, len(lab)) == (22, 44)
        assert result.idle is not None
        assert 0 <= result.idle < 1


# Workers have something to do


def test_short_tasks_are_given_ahead_and_long_ones_are_not(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [hd.Request(Plant(torch.full((2,), float(n)))) for n in range(9)]
    executor = Reversed(lab, 2, ahead=3)
    lab.derive_all(requests[:5], executor=executor)
    assert executor.most == [1, 2, 2, 3, 4]  # once one has ended and was short, five may be out
    monkeypatch.setattr(flow, "SHORT", 0.0)
    executor = Reversed(lab, 2, ahead=3)
    lab.derive_all(requests, executor=executor)
    assert executor.most == [1, 2, 2, 2]


@pytest.mark.slow
def test_free_workers_take_from_the_backlog(lab: hd.Lab, tmp_path: Path) -> None:
    executor = Processes(2)
    dispatch = Dispatch(lab, ())
    jobs = dispatch.births([hd.Request(Where(str(tmp_path / "log"), float(n), 0.01)) for n in range(8)])
    for job in jobs:
        dispatch.submit(job, executor)
    ended = []
    while len(ended) < 8:
        ended += executor.wait()
    executor.close()
    assert len(set((tmp_path / "log").read_text().split())) <= 2
    assert {task.id for task, _ in ended} == {job.id for job in jobs}
    assert executor.wait() == []


@pytest.mark.slow
def test_the_idle_share_is_what_tasks_leave(lab: hd.Lab) -> None:
    executor = Processes(2)
    pause = 0.5
    requests = [hd.Request(Logged(os.devnull, float(n), pause)) for n in range(4)]
    list(lab.as_completed(requests, executor=executor))  # workers are up
    result = search(
        lab,
        RandomSearch(BOX),
        birth=lambda c: hd.Request(Logged(os.devnull, 100.0 + c.id, pause)),
        executor=executor,
        mode="steady",
        in_flight=1,  # one of two workers has never anything to do
        evaluations=3,
    ).run()
    executor.close()
    assert result.idle is not None
    assert 0.5 <= result.idle < 1


@dataclass(frozen=True)
class Noisy(hd.Probe):
    """A noisy look at a model, which sometimes sees nothing."""

    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        noise = float(torch.randn((), generator=context.generator))
        if noise > 1.2:
            raise EvaluationFailed("nothing was seen")
        return {"norm": float(model.weights()["w"].norm()) + noise}


def chain_vector(chain: SeedChain) -> np.ndarray:
    return np.array([chain.root % 97, len(chain.steps), sum(seed for seed, _ in chain.steps) % 89], dtype=np.float64)


@pytest.mark.parametrize("mode", ["generational", "steady", "asynchronous"])
def test_every_candidate_may_be_evaluated_with_a_seed_of_its_own(lab: hd.Lab, mode: Any) -> None:
    def run(opened: hd.Lab) -> hd.Evolved:
        searcher = DeepGA(population=6, truncation=2, power=0.1, candidates=2, recheck=4, seed=5)
        return search(
            opened,
            searcher,
            birth=lambda candidate: hd.Request(Plant(torch.from_numpy(chain_vector(candidate.value)))),
            probe=Noisy(),
            mode=mode,
            in_flight=None if mode == "generational" else 8,
            evaluations=40,
            seed=lambda candidate: candidate.id,
        ).run()

    first = run(lab)
    looks = Counter(first.births.values())
    assert max(looks.values()) >= 5  # a first look and four more, of one model
    model = next(model for model, count in looks.items() if count >= 5)
    outcomes = [lab.outcome(Noisy(), lab[model], seed=i) for i, born in first.births.items() if born == model]
    values = [outcome["norm"] for outcome in outcomes if isinstance(outcome, Ok)]
    assert len(set(values)) == len(values) >= 2  # each a draw of its own
    made = births(lab)
    with hd.Lab(lab.path) as again:
        second = run(again)
        assert (second.births, second.failures, second.value, second.history) == (
            first.births,
            first.failures,
            first.value,
            first.history,
        )
        assert births(again) == made
    assert first.failures  # one failed look at a model is not the end of the others
    assert {first.births[candidate] for candidate in first.failures} & {
        model for candidate, model in first.births.items() if candidate not in first.failures
    }


def test_a_seed_for_all_is_part_of_what_is_measured(lab: hd.Lab) -> None:
    values = [
        search(lab, SEARCHERS["random"](), probe=Noisy(), evaluations=5, seed=seed).run().value for seed in (1, 2)
    ]
    assert values[0] != values[1]
