"""Eight taggers that learn from growing data, and how accurate each is after every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from heredity.papers.testbeds.name_tagging import DIMENSIONS, GROUPS, TAGS, WORD, Integers


class Tagger(ABC):
    """Learns from more and more rows of features."""

    @abstractmethod
    def learn(self, features: Integers, tags: Integers) -> None:
        """Take in further rows [n, COLUMNS] with their tags [n]."""

    @abstractmethod
    def tag(self, features: Integers) -> Integers:
        """Tags [n] of rows."""


class Linear(Tagger):
    """A scikit-learn classifier with `partial_fit` over some of the columns."""

    def __init__(self, group: str, make: Callable[[], Any]) -> None:
        self.columns, self.model = list(GROUPS[group]), make()

    def learn(self, features: Integers, tags: Integers) -> None:
        """One pass over the rows, in order."""
        self.model.partial_fit(self._sparse(features), tags, classes=np.arange(len(TAGS)))

    def tag(self, features: Integers) -> Integers:
        """The likeliest tags."""
        found: Integers = self.model.predict(self._sparse(features))
        return found

    def _sparse(self, features: Integers) -> Any:
        from scipy.sparse import csr_matrix

        chosen = features[:, self.columns]
        ends = np.arange(0, chosen.size + 1, chosen.shape[1])
        matrix = csr_matrix((np.ones(chosen.size), chosen.reshape(-1), ends), shape=(len(chosen), DIMENSIONS))
        matrix.sum_duplicates()  # two features of a row may share a column
        return matrix


class MostFrequent(Tagger):
    """The tag that a word had most often; for unknown words the most frequent of all."""

    def __init__(self) -> None:
        self.counts = np.zeros((DIMENSIONS, len(TAGS)), dtype=np.int64)

    def learn(self, features: Integers, tags: Integers) -> None:
        """Count."""
        np.add.at(self.counts, (features[:, WORD[0]], tags), 1)

    def tag(self, features: Integers) -> Integers:
        """Look up; of equally frequent tags the first."""
        seen = self.counts[features[:, WORD[0]]]
        overall = int(self.counts.sum(0).argmax())
        return np.where(seen.any(1), seen.argmax(1), overall)


def _sgd(**settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        from sklearn.linear_model import SGDClassifier

        # Rows come shuffled; the classifier's own shuffling would only add another seed.
        return SGDClassifier(average=True, shuffle=False, random_state=0, **settings)

    return make


def _multinomial() -> Any:
    from sklearn.naive_bayes import MultinomialNB

    return MultinomialNB()


def _bernoulli() -> Any:
    from sklearn.naive_bayes import BernoulliNB

    return BernoulliNB()


_PERCEPTRON = {"loss": "perceptron", "penalty": None, "learning_rate": "constant", "eta0": 1.0}

TAGGERS: Mapping[str, Callable[[], Tagger]] = MappingProxyType(
    {
        "naive_bayes_all": lambda: Linear("all", _multinomial),
        "naive_bayes_context": lambda: Linear("context", _multinomial),
        "bernoulli_shape": lambda: Linear("shape", _bernoulli),
        "logistic_all": lambda: Linear("all", _sgd(loss="log_loss")),
        "logistic_shape": lambda: Linear("shape", _sgd(loss="log_loss")),
        "perceptron_all": lambda: Linear("all", _sgd(**_PERCEPTRON)),
        "hinge_context": lambda: Linear("context", _sgd(loss="hinge")),
        "most_frequent_tag": MostFrequent,
    }
)


def accuracies(
    name: str, train: tuple[Integers, Integers], test: tuple[Integers, Integers], schedule: Sequence[int]
) -> list[float]:
    """Per cent of the test names that a tagger of TAGGERS gets right after each size of the schedule.

    Args:
        train, test: features [n, COLUMNS] and tags [n]; training rows in the order of learning.
    """
    tagger, seen, found = TAGGERS[name](), 0, []
    for size in schedule:
        tagger.learn(train[0][seen:size], train[1][seen:size])
        found.append(float(100 * np.mean(tagger.tag(test[0]) == test[1])))
        seen = size
    return found
