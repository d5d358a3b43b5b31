"""Two texts compared by attentive LSTMs: is one a disguise, a paraphrase, an answer of the other?

Source: Moravvej, Mousavirad, Oliva & Mohammadi, arXiv 2305.02374; additive attention as in Bahdanau et al., arXiv
1409.0473. Differs from paper: the classifier also sees |a − b| (features=("a", "b") is the paper's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

Feature: TypeAlias = Literal["a", "b", "absdiff"]


class AttentiveLSTM(nn.Module):
    """A sequence as one vector: s = Σ α_t h_t, α = softmax(vᵀ tanh(W h_t + b)) over the LSTM's states h_t.

    Args:
        dim: of the sequence's vectors.
        hidden: u, of the states.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.dim, self.hidden = dim, hidden
        self.lstm = nn.LSTM(dim, hidden, batch_first=True)
        self.attention = nn.Linear(hidden, hidden)
        self.query = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The summary [B, u] and the attention [B, T] of sequences x [B, T, D].

        Args:
            mask: [B, T] bool, True where there is a token; padding comes last.

        Raises:
            ValueError: shapes differ, a row is all padding, or a token follows padding.
        """
        check_mask(x, mask)
        states, _ = self.lstm(x)
        scores = self.query(torch.tanh(self.attention(states)))[..., 0]
        alpha = scores.masked_fill(~mask, -torch.inf).softmax(1)
        return torch.einsum("bt,btu->bu", alpha, states), alpha


class PairClassifier(nn.Module):
    """Two texts → one logit, by two attentive LSTMs and a perceptron.

    Args:
        encoder: token ids [B, T] → vectors [B, T, D], such as an embedding, or a model of transformers whose answer has
            `last_hidden_state`; None where the vectors themselves are given.
        hidden: u of the LSTMs; the perceptron has one hidden layer of 2 u.
        dim: D; needed where it is not the `embedding_dim` of the encoder.
        tied: whether one LSTM reads both texts; the paper has two.
        features: what the perceptron sees of the summaries.
        padding: the id that marks padding.
    """

    def __init__(
        self,
        encoder: nn.Module | None,
        hidden: int = 64,
        *,
        dim: int | None = None,
        tied: bool = False,
        features: Sequence[Feature] = ("a", "b", "absdiff"),
        padding: int = 0,
    ) -> None:
        super().__init__()
        if not features or set(features) - set(get_args(Feature)):
            raise ValueError(f"features are some of {get_args(Feature)}, got {tuple(features)}")
        width = dim if dim is not None else getattr(encoder, "embedding_dim", None)
        if not isinstance(width, int):
            raise ValueError("the encoder does not say how wide its vectors are; pass dim")
        self.encoder, self.features, self.padding = encoder, tuple(features), padding
        self.first = AttentiveLSTM(width, hidden)
        self.second = None if tied else AttentiveLSTM(width, hidden)
        self.head = nn.Sequential(
            nn.Linear(len(self.features) * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, 1)
        )

    def forward(self, a: Tensor, b: Tensor, mask_a: Tensor | None = None, mask_b: Tensor | None = None) -> Tensor:
        """Logits [B] that the texts belong together.

        Args:
            a, b: token ids [B, T]; vectors [B, T, D] where there is no encoder.
            mask_a, mask_b: [B, T] bool, True where there is a token; by default where ids are not padding.
        """
        other = self.first if self.second is None else self.second
        first, _ = self.first(*self._read(a, mask_a))
        second, _ = other(*self._read(b, mask_b))
        parts = {"a": first, "b": second, "absdiff": (first - second).abs()}
        logits: Tensor = self.head(torch.cat([parts[name] for name in self.features], 1))[:, 0]
        return logits

    def _read(self, text: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.encoder is None:
            if mask is None:
                raise ValueError("vectors come with a mask [B, T] that says where tokens are")
            return text, mask
        mask = text != self.padding if mask is None else mask
        answer = self.encoder(text)
        return getattr(answer, "last_hidden_state", answer), mask


def check_mask(x: Tensor, mask: Tensor) -> None:
    """Whether sequences [B, T, D] have a mask [B, T] with at least one token, and padding behind the tokens.

    Raises:
        ValueError: they do not.
    """
    if x.ndim != 3 or mask.shape != x.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"sequences [B, T, D] need a bool mask [B, T], got {tuple(x.shape)} and {mask.dtype} {tuple(mask.shape)}"
        )
    empty = ~mask[:, 0]
    if bool(empty.any()):
        raise ValueError(f"sequence {int(empty.int().argmax())} begins without a token: it is empty or padded left")
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("a token follows padding; padding comes last")
