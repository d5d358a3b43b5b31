"""Against a real server on this machine that speaks the protocol, well and badly."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from heredity.language.access import EndpointChat, EndpointError, Recording

HELLO = [{"role": "user", "content": "Hello."}]
KEY = "sk-very-secret"


class Server(ThreadingHTTPServer):
    """Gives the prepared answers in turn, then proper ones."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.prepared, self.seen = [], []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        code, headers, text = self.server.prepared.pop(0) if self.server.prepared else (200, {}, self.proper(body))
        if text == "slow":
            self.server.released.wait(20)
            return
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if text == "drip":
            self.end_headers()
            while not self.server.released.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()
            return
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers), None))
        self.send_response(200)
        self.end_headers()

    def proper(self, body):
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        if self.path == "/v1/completions":
            choices = [{"text": f"{body['prompt']} {k}"} for k in range(body["n"])]
        else:
            text = f"{body['messages'][-1]['content']} {body['seed']}"
            choices = [{"message": {"role": "assistant", "content": text}}]
        return json.dumps({"choices": choices, "usage": usage})

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def chat(server, **settings):
    return EndpointChat(server.url, "tiny", **{"backoff_s": 0.001, "timeout_s": 5.0, **settings})


def test_a_conversation_is_asked_as_the_protocol_has_it(server):
    one = chat(server, extra={"repetition_penalty": 1.1})
    assert one.reply(HELLO, temperature=0.5, top_p=0.9, max_tokens=7, seed=3) == "Hello. 3"
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert body == {
        "model": "tiny",
        "messages": HELLO,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 7,
        "seed": 3,
        "repetition_penalty": 1.1,
    }
    assert (one.usage.requests, one.usage.prompt_tokens, one.usage.completion_tokens) == (1, 7, 3)
    assert one.usage.cost(prompt=1e6, completion=1e6) == 10


def test_texts_and_token_ids_are_continued(server):
    assert chat(server).complete("ab", n=2, stop=["x"]) == ["ab 0", "ab 1"]
    assert chat(server).complete((1, 2)) == ["[1, 2] 0"]
    assert server.seen[0][2]["stop"] == ["x"] and server.seen[1][2]["prompt"] == [1, 2]
    assert "stop" not in server.seen[1][2]


def test_many_conversations_come_back_in_order_with_seeds_of_their_own(server):
    asked = [[{"role": "user", "content": str(k)}] for k in range(20)]
    assert chat(server).replies(asked, parallel=5, seed=100) == [f"{k} {100 + k}" for k in range(20)]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_or_broken_server_is_asked_again(server, code):
    server.prepared = [(code, {}, "busy")] * 3
    one = chat(server)
    assert one.reply(HELLO) == "Hello. 0" and len(server.seen) == 4 and one.usage.retries == 3


def test_a_server_may_say_when_to_come_back(server):
    server.prepared = [(429, {"Retry-After": "0.2"}, ""), (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "")]
    started = time.monotonic()
    assert chat(server).reply(HELLO) == "Hello. 0"
    assert 0.2 <= time.monotonic() - started < 3


def test_tries_are_bounded(server):
    server.prepared = [(500, {}, "out of order")] * 9
    with pytest.raises(EndpointError, match=r"it answered 500 .*out of order \(3 tries\)"):
        chat(server, retries=2).reply(HELLO)
    assert len(server.seen) == 3


@pytest.mark.parametrize("code", [400, 401, 404])
def test_a_refusal_is_not_asked_again(server, code):
    server.prepared = [(code, {}, "no such model")]
    with pytest.raises(EndpointError, match=f"it answered {code} .*no such model"):
        chat(server).reply(HELLO)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "text",
    [
        "<html>",
        "[]",
        "{}",
        '{"choices": []}',
        '{"choices": [1]}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": {"content": null}}]}',
        '{"choices": {"a": 1}}',
    ],
)
def test_answers_that_are_none_are_errors(server, text):
    server.prepared = [(200, {}, text)]
    with pytest.raises(EndpointError, match="answer"):
        chat(server).reply(HELLO)


@pytest.mark.parametrize("how", ["slow", "drip"])
def test_a_slow_server_is_given_up(server, how):
    server.prepared = [(200, {}, how)] * 2
    started = time.monotonic()
    with pytest.raises(EndpointError, match=r"no answer in 0.2 s \(2 tries\)"):
        chat(server, timeout_s=0.2, retries=1).reply(HELLO)
    assert time.monotonic() - started < 5


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(EndpointError, match="cannot be reached"):
        EndpointChat("http://127.0.0.1:9/v1", "tiny", retries=1, backoff_s=0.001).reply(HELLO)


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(server, monkeypatch, tmp_path):
    one = chat(server, api_key_env="A_KEY", retries=0)
    with pytest.raises(EndpointError, match="environment variable A_KEY"):
        one.reply(HELLO)
    monkeypatch.setenv("A_KEY", KEY)
    journal = tmp_path / "journal.jsonl"
    Recording(one, journal).reply(HELLO)
    assert server.seen[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in journal.read_text() and KEY not in repr(one) and KEY not in str(vars(one))
    server.prepared = [(401, {}, f"the key {KEY} is wrong")]
    with pytest.raises(EndpointError) as error:
        one.reply(HELLO)
    assert KEY not in str(error.value) and "is wrong" in str(error.value)


def test_a_redirect_is_not_followed_with_the_key(server, monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    server.prepared = [(302, {"Location": server.url + "/elsewhere"}, "")]
    with pytest.raises(EndpointError, match="302"):
        chat(server, api_key_env="A_KEY", retries=0).reply(HELLO)
    assert [path for path, _, _ in server.seen] == ["/v1/chat/completions"]


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a/v1", "http://", "http://me:word@host/v1"])
def test_addresses_are_checked(url):
    with pytest.raises(ValueError, match="endpoint's address"):
        EndpointChat(url, "tiny")
