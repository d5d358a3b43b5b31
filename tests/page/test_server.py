"""The live page's server: loopback only, reading only."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from heredity.errors import LabError
from heredity.lab import Lab
from heredity.page import server as module
from heredity.page.server import PageServer


@pytest.fixture
def served(journal: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    """A server on a free port, which looks at the journals whenever it is asked."""
    monkeypatch.setattr(module, "SHORTEST", 0.0)
    journal.evolve(5)
    with Lab(journal.lab, mode="r") as lab, PageServer(lab) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def test_it_listens_on_loopback_only(served: PageServer) -> None:
    assert served.server_address[0] == "127.0.0.1"


def test_the_page_comes_with_a_strict_policy_and_lets_no_other_origin_in(served: PageServer) -> None:
    status, headers, content = ask(served, "/")
    assert status == 200
    assert content.startswith("<!doctype html>")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not any(name.lower().startswith("access-control") for name in headers)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:1", ""])
def test_a_foreign_host_is_refused(served: PageServer, host: str) -> None:
    for path in ("/", "/data"):
        status, _, content = ask(served, path, Host=host)
        assert status == 421
        assert "births" not in content


def test_requests_of_other_sites_are_refused(served: PageServer) -> None:
    assert ask(served, "/data", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert ask(served, "/data", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")[0] == 200
    assert ask(served, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200  # a link to it


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(served: PageServer, method: str) -> None:
    assert ask(served, "/data", method)[0] == 501


@pytest.mark.parametrize("path", ["/../births", "/births/writer.jsonl", "/favicon.ico", "/data/"])
def test_there_is_nothing_else(served: PageServer, path: str) -> None:
    assert ask(served, path)[0] == 404


@pytest.mark.parametrize("told", ["-1", "x", "1e3", "9" * 30, "%C2%B2"])
def test_a_wrong_question_is_refused(served: PageServer, told: str) -> None:
    assert ask(served, f"/data?told={told}")[0] == 400


def test_a_page_is_told_what_is_new(served: PageServer, journal: Any) -> None:
    first = json.loads(ask(served, "/data")[2])
    assert (first["start"], first["told"], len(first["chunks"][0]["births"])) == (0, 1, 5)
    where = f"/data?epoch={first['epoch']}&told={first['told']}"
    assert json.loads(ask(served, where)[2])["chunks"] == []
    journal.write(journal.birth(50, [1]), journal.value(50, fitness=1.0))
    news = json.loads(ask(served, where)[2])
    assert (news["start"], news["told"]) == (1, 2)
    assert [row[0] for row in news["chunks"][0]["births"]] == [journal.birth(50, [])["id"]]
    other = json.loads(ask(served, "/data?epoch=another&told=1")[2])  # a page of an earlier server starts anew
    assert other["start"] == 0 and len(other["chunks"]) == 2


def test_a_lab_that_was_replaced_is_told_anew(served: PageServer, journal: Any) -> None:
    first = json.loads(ask(served, "/data")[2])
    journal.path.unlink()
    journal.path = journal.path.with_name("other.jsonl")
    journal.write(journal.birth(7, []))
    again = json.loads(ask(served, f"/data?epoch={first['epoch']}&told=1")[2])
    assert again["epoch"] != first["epoch"]
    assert (again["start"], again["told"], len(again["chunks"][0]["births"])) == (0, 1, 1)


def test_a_port_that_is_taken_is_named(served: PageServer) -> None:
    port = served.server_address[1]
    with pytest.raises(LabError, match=f"port {port}.*choose another"):
        PageServer(served.feed.lab, port)
