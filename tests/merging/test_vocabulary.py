"""One vocabulary for several models: which rows go where, and what fills a gap."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from heredity.errors import RecipeError
from heredity.merging.mergekit_schema import ModelRef, TokenizerConfig, TokenSource
from heredity.merging.vocabulary import Tokenizer, Vocabulary, build_vocabulary

A, B = ModelRef("a"), ModelRef("b")


def special(token: str, index: int) -> dict[str, Any]:
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return {"id": index, "content": token, "special": True, **flags}


def write(folder: Path, vocab: dict[str, int], added: list[dict[str, Any]], merges: list[Any] | None = None) -> Path:
    folder.mkdir()
    model = {"type": "BPE", "vocab": vocab, "merges": merges or []}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": added, "model": model}))
    return folder


def rows(*values: float) -> Tensor:
    """Embeddings of width 2 whose row i is (values[i], -values[i])."""
    column = torch.tensor(values)
    return torch.stack([column, -column], dim=1)


@pytest.fixture
def folders(tmp_path: Path) -> list[tuple[ModelRef, Path, int | None]]:
    # a: x y z <s>      b: y x w <s> <t>, the same tokens at other ids
    a = write(tmp_path / "a", {"x": 0, "y": 1, "z": 2}, [special("<s>", 3)])
    b = write(tmp_path / "b", {"y": 0, "x": 1, "w": 2}, [special("<s>", 3), special("<t>", 4)])
    return [(A, a, 4), (B, b, 5)]


def moved(vocabulary: Vocabulary) -> dict[str, tuple[float, float]]:
    """By token, the first number of its embedding in a and in b; a's are 1…4, b's 10…50."""
    out = vocabulary.move({A: rows(1, 2, 3, 4), B: rows(10, 20, 30, 40, 50)})
    assert all(torch.equal(e[:, 0], -e[:, 1]) for e in out.values())
    return {token: (out[A][i, 0].item(), out[B][i, 0].item()) for token, i in vocabulary.tokenizer.ids.items()}


def test_a_union_keeps_own_embeddings_and_fills_gaps_from_the_only_owner(
    folders: list[tuple[ModelRef, Path, int | None]],
) -> None:
    vocabulary, notes = build_vocabulary(TokenizerConfig("union"), folders, A)
    assert notes == []
    assert vocabulary.size == 6
    assert vocabulary.tokenizer.ids == {"x": 0, "y": 1, "z": 2, "<s>": 3, "w": 4, "<t>": 5}
    assert moved(vocabulary) == {
        "x": (1, 20),
        "y": (2, 10),
        "z": (3, 3),  # only a has it
        "<s>": (4, 40),
        "w": (30, 30),  # only b has it
        "<t>": (50, 50),
    }
    text = json.loads(vocabulary.tokenizer.text())
    assert [(item["content"], item["id"], item["special"]) for item in text["added_tokens"]] == [
        ("<s>", 3, True),
        ("w", 4, False),
        ("<t>", 5, True),
    ]


@pytest.mark.parametrize(("base", "filler"), [(None, 25.0), (ModelRef("b"), 20.0), (ModelRef("c"), 30.0)])
def test_a_token_of_two_models_fills_the_third_by_the_base_or_the_mean(
    tmp_path: Path, base: ModelRef | None, filler: float
) -> None:
    c = ModelRef("c")
    models: list[tuple[ModelRef, Path, int | None]] = [
        (A, write(tmp_path / "a", {"p": 0}, []), 1),
        (B, write(tmp_path / "b", {"p": 0, "q": 1}, []), 2),
        (c, write(tmp_path / "c", {"q": 0}, []), 1),
    ]
    vocabulary, _ = build_vocabulary(TokenizerConfig("union"), models, base)
    out = vocabulary.move({A: rows(1), B: rows(10, 20), c: rows(30)})
    assert out[A][vocabulary.tokenizer.ids["q"], 0] == filler  # (20 + 30) / 2 without a base


def test_base_takes_the_bases_tokens_only_and_pads(folders: list[tuple[ModelRef, Path, int | None]]) -> None:
    vocabulary, _ = build_vocabulary(TokenizerConfig("base", {}, 4), folders, B)
    assert vocabulary.tokenizer.ids == {"y": 0, "x": 1, "w": 2, "<s>": 3, "<t>": 4}
    assert vocabulary.size == 8
    out = vocabulary.move({A: rows(1, 2, 3, 4), B: rows(10, 20, 30, 40, 50)})
    assert out[A][:5, 0].tolist() == [2, 1, 30, 4, 50]
    assert out[B][5:, 0].tolist() == [30.0, 30.0, 30.0]  # padding is the mean of 10…50


def test_tokens_may_be_forced_renamed_zeroed_and_added(folders: list[tuple[ModelRef, Path, int | None]]) -> None:
    tokens = {
        "x": TokenSource("model", B, force=True),
        "<new>": TokenSource("model_token", B, token="<t>"),
        "<id>": TokenSource("model_token", A, token_id=2),
        "<nil>": TokenSource("zero"),
    }
    vocabulary, _ = build_vocabulary(TokenizerConfig("base", tokens), folders, A)
    assert moved(vocabulary) == {
        "x": (20, 20),
        "y": (2, 10),
        "z": (3, 3),
        "<s>": (4, 40),
        "<new>": (50, 50),
        "<id>": (3, 3),
        "<nil>": (0, 0),
    }


def test_tokens_without_an_embedding_are_cut_off_with_their_merges(tmp_path: Path) -> None:
    folder = write(tmp_path / "t", {"a": 0, "b": 1, "ab": 2, "aba": 3}, [special("<s>", 4)], ["a b", ["ab", "a"]])
    cut = Tokenizer(folder, 3)
    assert cut.ids == {"a": 0, "b": 1, "ab": 2}
    assert json.loads(cut.text())["model"]["merges"] == ["a b"]
    assert Tokenizer(folder).ids["<s>"] == 4


def test_what_cannot_be_done_is_said(tmp_path: Path, folders: list[tuple[ModelRef, Path, int | None]]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=r"has no tokenizer.json"):
        Tokenizer(tmp_path / "empty")
    vocabulary, notes = build_vocabulary(TokenizerConfig("base"), [folders[0], (B, tmp_path / "empty", 4)], A)
    assert notes == ["b has no tokenizer.json; it is taken to be that of a"]
    assert vocabulary.rows[B].tolist() == [0, 1, 2, 3]
    named = TokenizerConfig("base", {"x": TokenSource("model", ModelRef("elsewhere"))})
    with pytest.raises(RecipeError, match="takes an embedding from elsewhere, which is not part of the merge"):
        moved(build_vocabulary(named, folders, A)[0])


def test_the_union_is_a_tokenizer_that_the_library_reads(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")

    def bpe(folder: Path, words: list[str], marks: list[str]) -> Path:
        model = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
        model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        trainer = tokenizers.trainers.BpeTrainer(vocab_size=60, special_tokens=marks, show_progress=False)
        model.train_from_iterator(words, trainer)
        folder.mkdir()
        model.save(str(folder / "tokenizer.json"))
        return folder

    a = bpe(tmp_path / "a", ["low lower lowest"] * 3, ["<s>"])
    b = bpe(tmp_path / "b", ["new newer newest"] * 3, ["<s>", "<pad>"])
    vocabulary, _ = build_vocabulary(TokenizerConfig("union"), [(A, a, None), (B, b, None)], None)
    loaded = tokenizers.Tokenizer.from_str(vocabulary.tokenizer.text())
    assert loaded.get_vocab() == vocabulary.tokenizer.ids
    assert loaded.get_vocab().keys() == Tokenizer(a).ids.keys() | Tokenizer(b).ids.keys()
    assert loaded.encode("<pad>").ids == [vocabulary.tokenizer.ids["<pad>"]]
