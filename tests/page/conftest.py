"""Labs to look at, and a browser to look at them with; tests that need one skip with the reason where there is none."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from heredity.lab.journal import FORMAT, encode_line

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


def identity(number: int) -> str:
    """The key of a synthetic birth."""
    return hashlib.sha256(f"birth {number}".encode()).hexdigest()


class Journal:
    """A lab's journal written line by line: thousands of births cost no training."""

    def __init__(self, lab: Path) -> None:
        (lab / "births").mkdir(parents=True)
        self.lab = lab
        self.path = lab / "births" / "writer.jsonl"
        self.time = 1.7e9
        self.write({"t": "journal", "format": FORMAT, "writer": "writer"})
        self.write({"t": "environment", "id": "e" * 12, "versions": {"torch": "2"}, "host": "there", "command": ["x"]})

    def write(self, *records: dict[str, Any]) -> None:
        """Append records, each a second after the one before."""
        lines = []
        for record in records:
            self.time += 1
            lines.append(encode_line({"time": self.time, **record}))
        with self.path.open("ab") as file:
            file.write(b"".join(lines))

    def birth(self, number: int, parents: list[int], **changes: Any) -> dict[str, Any]:
        """A birth's record; the first parent is the primary one."""
        key = identity(number)
        edges = [{"id": identity(parent)[:16], "role": "mate" if at else "parent"} for at, parent in enumerate(parents)]
        record = {
            "t": "birth",
            "id": key[:16],
            "key": key,
            "kind": "init" if not parents else "crossover" if len(parents) > 1 else "mutate",
            "operator": {"type": "made.up:Mutate", "version": 1, "config": {"sigma": 0.1, "rate": 0.5}},
            "parents": edges,
            "seed": number,
            "labels": {"island": number % 3},
            "architecture": None,
            "environment": "e" * 12,
            "weights": key,
            "bytes": 1000,
            "wall": 0.02,
            "cpu": 0.01,
            "peak_rss": 10**8,
            "threads": 1,
            "deterministic": True,
            "kept": True,
            "notes": {},
        }
        return {**record, **changes}

    def value(self, number: int, **values: float) -> dict[str, Any]:
        """A measurement's record."""
        probe = {"type": "made.up:Fitness", "version": 1, "config": {}}
        birth = identity(number)
        key = hashlib.sha256(f"{birth}{sorted(values)}".encode()).hexdigest()
        head = {"t": "measurement", "key": key, "id": birth[:16], "probe": probe, "seed": 0, "environment": "e" * 12}
        return {**head, "values": values, "wall": 0.01}

    def evolve(self, births: int, *, keep: int = 12, deaths: bool = True, digits: int = 6) -> None:
        """A population under truncation selection; three births in ten have two parents.

        Few digits of fitness make equal values.
        """
        generator = random.Random(0)
        fitness: list[float] = []
        population: list[int] = []
        records: list[dict[str, Any]] = []
        for number in range(births):
            parents: list[int] = []
            if len(population) >= keep:
                parents = [generator.choice(population)]
                mate = generator.choice(population)
                if generator.random() < 0.3 and mate != parents[0]:
                    parents.append(mate)
            before = fitness[parents[0]] if parents else 0.0
            fitness.append(round(before + generator.gauss(0, 0.01), digits))
            operator = {"type": "made.up:Mutate", "version": 1, "config": {"sigma": generator.choice([0.1, 0.2])}}
            records += [self.birth(number, parents, operator=operator), self.value(number, fitness=fitness[-1])]
            population.append(number)
            if len(population) >= 2 * keep:
                population.sort(key=lambda one: -fitness[one])
                dead, population = population[keep:], population[:keep]
                if deaths:
                    ids = [identity(one)[:16] for one in dead]
                    records.append({"t": "death", "ids": ids, "reason": "not selected"})
        self.write(*records)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty lab and the writer of its journal."""
    return Journal(tmp_path / "lab")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Sight:
    """A page, and everything it did that it should not have done."""

    page: Any
    wrong: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def call(self, script: str, argument: Any = None) -> Any:
        """The value of a JavaScript function."""
        return self.page.evaluate(script, argument)

    def until(self, script: str, argument: Any = None, seconds: float = 10.0) -> Any:
        """Wait for a true value; the page's policy forbids the usual way, which evaluates text."""
        end = time.monotonic() + seconds
        while not (value := self.page.evaluate(script, argument)):
            assert time.monotonic() < end, f"never true: {script}"
            self.page.wait_for_timeout(20)
        return value

    def facts(self) -> dict[str, Any]:
        """What is drawn."""
        return self.page.evaluate("() => heredity.facts()")

    def panel(self) -> str:
        """The text beside the graph."""
        return self.page.inner_text("#panel")

    def click(self, birth: str, **options: Any) -> None:
        """Click a birth in the graph."""
        spot = self.until("id => heredity.where(id)", birth)
        self.page.click("#graph", position={"x": spot["x"], "y": spot["y"]}, **options)


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open an address in a fresh context: `with look(address) as sight`; ends by asserting that nothing went wrong."""

    @contextmanager
    def opened(
        address: str, *, width: int = 1280, height: int = 800, expected: tuple[str, ...] = ()
    ) -> Iterator[Sight]:
        context = chromium.new_context(viewport={"width": width, "height": height})
        page = context.new_page()
        sight = Sight(page)
        home = address.partition("#")[0]

        def route(request: Any) -> None:
            target = request.request.url
            sight.asked.append(target)
            if target.startswith(("data:", "blob:")) or target.split("?")[0].split("#")[0] in (home, f"{home}data"):
                request.continue_()
            else:
                sight.wrong.append(f"asked for {target}")
                request.abort()

        context.route("**/*", route)
        page.on("pageerror", lambda error: sight.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (sight.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))

        def console(message: Any) -> None:
            if message.type in ("error", "warning") and not any(text in message.text for text in expected):
                sight.wrong.append(f"console: {message.text}")

        page.on("console", console)
        page.goto(address)
        page.wait_for_selector("#facts li")
        sight.until("() => new Promise(done => requestAnimationFrame(() => done(true)))")
        yield sight
        context.close()
        assert sight.wrong == []

    yield opened
