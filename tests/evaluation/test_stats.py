"""Intervals: closed forms, coverage, clusters, pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.evaluation.stats import bootstrap, paired_bootstrap, wilson


def test_wilson_equals_the_closed_form() -> None:
    # Wilson 1927 with z = 1.95996, p = 0.5, n = 4: centre 0.5, half-width z/(2·sqrt(4 + z²)) = 0.3500.
    estimate = wilson(2, 4)
    z = 1.959963984540054
    half = z / (2 * (4 + z * z) ** 0.5)
    assert estimate.low == pytest.approx(0.5 - half)
    assert estimate.high == pytest.approx(0.5 + half)


@given(st.integers(1, 200), st.data())
def test_wilson_holds_the_proportion_and_stays_in_range(n: int, data: st.DataObject) -> None:
    estimate = wilson(data.draw(st.integers(0, n)), n)
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


def test_bootstrap_of_a_mean_has_the_normal_width() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    estimate = bootstrap(values)
    # For a mean of n observations the 95 % interval is ± 1.96 s/sqrt(n); 10,000 resamples estimate it within 5 %.
    half = 1.96 * values.std(ddof=1) / 20
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.05)
    assert estimate.mean == pytest.approx(values.mean())


def test_copies_in_a_cluster_are_one_observation() -> None:
    values = np.random.default_rng(1).normal(size=100)
    plain = bootstrap(values, seed=3)
    copied = bootstrap(np.repeat(values, 8), cluster=np.repeat(np.arange(100), 8), seed=3)
    assert copied.n == 100
    assert (copied.low, copied.high) == pytest.approx((plain.low, plain.high))
    naive = bootstrap(np.repeat(values, 8), seed=3)
    assert naive.high - naive.low < 0.5 * (copied.high - copied.low)


def test_pairs_remove_what_they_share() -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 10, 200)
    a, b = shared + 0.5 + rng.normal(0, 0.1, 200), shared
    estimate = paired_bootstrap(a, b)
    assert 0.45 < estimate.low < 0.5 < estimate.high < 0.55


def test_the_same_seed_gives_the_same_interval_and_leaves_the_global_generator_alone() -> None:
    np.random.seed(5)  # noqa: NPY002 - the global generator is what is watched
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert bootstrap([1.0, 2.0, 4.0], seed=7) == bootstrap([1.0, 2.0, 4.0], seed=7)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_bootstrap_refuses_nothing_and_nan(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap(values)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        paired_bootstrap([1.0], [1.0, 2.0])
