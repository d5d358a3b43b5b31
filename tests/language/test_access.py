import json

import pytest
import torch

from heredity.errors import HeredityError
from heredity.language.access import NotRecorded, Recording, ScriptedChat, ScriptedCompleter, cut

HELLO = [{"role": "user", "content": "Hello."}]


class Counting:
    """A model that can be told how often it was asked."""

    name = "counting"

    def __init__(self):
        self.count = 0

    def reply(self, messages, *, temperature=0.0, top_p=1.0, max_tokens=512, seed=0):
        self.count += 1
        return f"{messages[-1]['content']} {seed} {self.count}"

    def complete(self, prompt, *, n=1, temperature=1.0, top_p=1.0, max_tokens=128, stop=(), seed=0):
        self.count += 1
        return [f"{prompt} {k}" for k in range(n)]

    def logprobs(self, prefix, continuation):
        self.count += 1
        return torch.tensor([-0.1, -1 / 3])


def test_a_scripted_chat_answers_in_turn_and_keeps_what_was_asked():
    chat = ScriptedChat(["a", "b"])
    assert [chat.reply(HELLO, seed=3), chat.reply(HELLO)] == ["a", "b"]
    assert chat.requests[0]["seed"] == 3 and chat.requests[0]["messages"] == HELLO
    with pytest.raises(HeredityError, match="2 answers"):
        chat.reply(HELLO)
    assert ScriptedChat(lambda messages: messages[-1]["content"].upper()).reply(HELLO) == "HELLO."


def test_a_scripted_completer_gives_n_and_stops():
    completer = ScriptedCompleter(["one\ntwo", "three"], cycle=True)
    assert completer.complete("", n=3, stop=("\n",)) == ["one", "three", "one"]
    assert ScriptedCompleter(lambda prompt, k: f"{prompt}{k}").complete("p", n=2) == ["p0", "p1"]


def test_the_first_stop_in_the_text_cuts():
    assert cut("a b c", ("c", "b")) == "a " and cut("a", ("", "x")) == "a"


def test_a_recording_asks_once_and_replays_without_a_model(tmp_path):
    path = tmp_path / "deep" / "journal.jsonl"
    model = Counting()
    recording = Recording(model, path)
    first = recording.reply(HELLO, seed=1)
    assert recording.reply(HELLO, seed=1) == first and model.count == 1
    assert recording.reply(HELLO, seed=2) != first and model.count == 2
    assert recording.complete([1, 2], n=2) == ["[1, 2] 0", "[1, 2] 1"]
    scores = recording.logprobs("a", "b")
    replayed = Recording(None, path)
    assert replayed.reply(HELLO, seed=1) == first and replayed.complete([1, 2], n=2) == ["[1, 2] 0", "[1, 2] 1"]
    assert torch.equal(replayed.logprobs("a", "b"), scores) and scores.tolist() == pytest.approx([-0.1, -1 / 3])
    with pytest.raises(NotRecorded, match="no answer"):
        replayed.reply(HELLO, seed=1, temperature=0.5)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["method"] for record in records] == ["reply", "reply", "complete", "logprobs"]
    assert records[0]["model"] == "counting" and records[0]["request"] == {"messages": HELLO}


def test_a_line_that_a_crash_cut_off_is_passed_over_and_closed(tmp_path):
    path = tmp_path / "journal.jsonl"
    Recording(Counting(), path).reply(HELLO)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-20])
    again = Recording(Counting(), path)
    assert again.reply(HELLO) == "Hello. 0 1" and again.asked == 0
    again.reply(HELLO, seed=5)
    once_more = Recording(None, path)
    assert once_more.reply(HELLO) == "Hello. 0 1" and once_more.reply(HELLO, seed=5) == "Hello. 5 1"


def test_a_journal_of_something_else_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(HeredityError, match=r"line 1 of .* is no record"):
        Recording(None, path)


def test_another_class_of_the_same_answers_is_known_by_its_name(tmp_path):
    assert Recording(Counting(), tmp_path / "a").name == "counting"
    assert Recording(None, tmp_path / "a").name == "recorded"
