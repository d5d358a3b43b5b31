"""The page live on loopback: the standard library's server, reading only.

Who may read: programs on this machine. Pages of other sites in the same browser may not: the Host header must name
loopback (against DNS rebinding), no other origin is allowed in, and requests that a browser marks as coming from
another site are refused. There is nothing to write.
"""

from __future__ import annotations

import secrets
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from heredity.errors import HeredityError, LabError
from heredity.page.data import LabReader, to_json
from heredity.page.report import page, policy

if TYPE_CHECKING:
    from heredity.lab import Lab

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SHORTEST = 0.3  # seconds between two looks at the journals, however many pages ask


class Feed:
    """Chunks of a lab since the server began, in memory as the JSON that pages are sent.

    An epoch names one reading of the lab from its beginning; a page that knows another one starts anew.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._begin()

    def _begin(self) -> None:
        self._reader = LabReader(self.lab)
        self._chunks: list[str] = []
        self._births = 0
        self.epoch = secrets.token_hex(8)

    def _look(self) -> None:
        if time.monotonic() - self._looked < SHORTEST:
            return
        self.lab.index.refresh()
        if self._reader.replaced():
            self._begin()
        chunk = self._reader.read()
        if chunk is not None:
            self._chunks.append(to_json(chunk))
        self._looked = time.monotonic()

    def since(self, epoch: str, told: int) -> str:
        """The JSON of what a page has not been told: it knows the first `told` chunks of an epoch."""
        with self._lock:
            self._look()
            start = told if epoch == self.epoch and 0 <= told <= len(self._chunks) else 0
            chunks = ",".join(self._chunks[start:])
            about = to_json(self._reader.about())
            head = f'"about":{about},"epoch":"{self.epoch}","start":{start},"told":{len(self._chunks)}'
            return f'{{{head},"chunks":[{chunks}]}}'


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "heredity", ""

    def do_GET(self) -> None:
        """The page, or what it has not been told."""
        if not self._welcome():
            return
        address = urlsplit(self.path)
        if address.path == "/":
            self._send(HTTPStatus.OK, page({"live": True}, live=True), "text/html; charset=utf-8")
        elif address.path == "/data":
            self._send_data(parse_qs(address.query))
        else:
            self._send(HTTPStatus.NOT_FOUND, "there is only / here\n")

    def do_HEAD(self) -> None:
        """The same without its content."""
        self.do_GET()

    def _send_data(self, query: dict[str, list[str]]) -> None:
        told = query.get("told", ["0"])[0]
        if not told.isascii() or not told.isdigit() or len(told) > 9:
            self._send(HTTPStatus.BAD_REQUEST, "told must be a number of chunks\n")
            return
        try:
            answer = self.server.feed.since(query.get("epoch", [""])[0], int(told))
        except (HeredityError, OSError) as error:  # the lab was moved away, or a newer version writes to it now
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n")
            return
        self._send(HTTPStatus.OK, answer, "application/json")

    def _welcome(self) -> bool:
        port = self.server.server_address[1]
        hosts = {f"{name}:{port}" for name in LOOPBACK} | (set(LOOPBACK) if port == 80 else set())
        if self.headers.get("Host", "").lower() not in hosts:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "this page is served to loopback only\n")
            return False
        elsewhere = self.headers.get("Sec-Fetch-Site") == "cross-site"
        if elsewhere and self.headers.get("Sec-Fetch-Mode") != "navigate":  # a link to the page is welcome
            self._send(HTTPStatus.FORBIDDEN, "other sites may not read this page\n")
            return False
        return True

    def _send(self, status: HTTPStatus, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        content = text.encode()
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": f"{policy(live=True)}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: polling would fill the terminal."""


class PageServer(ThreadingHTTPServer):
    """Serves one lab on 127.0.0.1.

    Args:
        lab: opened for reading; the caller closes it.
        port: 0 for a free one.

    Raises:
        LabError: the port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, lab: Lab, port: int = 0) -> None:
        self.feed = Feed(lab)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise LabError(f"cannot serve on port {port}: {error}; choose another one, or --port 0 for any") from error

    @property
    def url(self) -> str:
        """What to open."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a page that was closed while it was answered is no error."""
