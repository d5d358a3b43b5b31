"""The live page: what is recorded appears, and the view stays."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from heredity.lab import Lab
from heredity.page.server import PageServer


@pytest.fixture
def served(journal: Any) -> Iterator[PageServer]:
    """A server of a lab with a population."""
    journal.evolve(60)
    with Lab(journal.lab, mode="r") as lab, PageServer(lab) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_births_appear_and_the_view_stays(look: Any, served: PageServer, journal: Any) -> None:
    chosen = journal.birth(30, [])["id"]
    with look(f"{served.url}#sel={chosen}&x=generation&color=m:fitness&v=3,5,90,30") as sight:
        assert sight.page.inner_text("#live") == "live"
        sight.page.fill("#q", "is:living")
        before = sight.call("id => heredity.where(id)", chosen)
        journal.write(journal.birth(900, [30, 7]), journal.value(900, fitness=9.0))
        journal.write({"t": "name", "id": journal.birth(900, [])["id"], "name": "newcomer"})
        sight.until("() => heredity.facts().births === 61")
        sight.until(
            "() => document.getElementById('panel').innerText.includes('newcomer')"
        )  # now a child of the chosen one
        assert sight.facts()["best"] == journal.birth(900, [])["id"]
        after = sight.call("id => heredity.where(id)", chosen)
        assert (after["x"], after["y"]) == pytest.approx((before["x"], before["y"]), abs=1)
        assert sight.page.input_value("#q") == "is:living" and f"sel={chosen}" in sight.page.url


def test_an_empty_lab_fills(look: Any, journal: Any) -> None:
    with Lab(journal.lab, mode="r") as lab, PageServer(lab) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with look(server.url) as sight:
                journal.evolve(3)
                sight.until("() => heredity.facts().births === 3")
                assert not sight.page.is_visible("#empty")
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_stops_is_said_to(look: Any, journal: Any) -> None:
    journal.evolve(3)
    with Lab(journal.lab, mode="r") as lab:
        server = PageServer(lab)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with look(server.url, expected=("Failed to load resource",)) as sight:
            sight.until("() => document.getElementById('live').textContent === 'live'")
            server.shutdown()
            thread.join()
            server.server_close()
            sight.until("() => document.getElementById('live').textContent === 'not live'")
            assert sight.facts()["births"] == 3


def test_the_command_serves_until_it_is_interrupted(journal: Any) -> None:
    journal.evolve(3)
    command = [sys.executable, "-m", "heredity", "ui", "--lab", str(journal.lab), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(f"{found[0]}data", timeout=10) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert json.load(answer)["about"]["path"] == str(journal.lab)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None and process.stderr.read() == ""
