"""Intervals: closed forms, coverage, clusters, pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.evaluation.stats import (
    bootstrap,
    bootstrap_p,
    cliffs_delta,
    clopper_pearson,
    corrected_rate,
    holm,
    mcnemar,
    paired_bootstrap,
    student,
    wilson,
)


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


def test_clopper_pearson_equals_its_closed_forms_at_the_ends() -> None:
    # No success in n: the upper end solves (1 − p)^n = 0.025; the one-sided bound at 95 % solves (1 − p)^n = 0.05.
    none = clopper_pearson(0, 10)
    assert (none.low, none.high) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert clopper_pearson(0, 10, side="upper").high == pytest.approx(1 - 0.05**0.1)
    # All successes: p^n = 0.05 below.
    assert clopper_pearson(10, 10, side="lower").low == pytest.approx(0.05**0.1)
    assert clopper_pearson(10, 10, side="lower").high == 1.0


def test_clopper_pearson_contains_wilson_in_the_middle_and_refuses_nonsense() -> None:
    exact, score = clopper_pearson(40, 100), wilson(40, 100)
    assert exact.low < score.low < score.high < exact.high
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(3, 2)


def test_bootstrap_p_and_interval_agree() -> None:
    values = np.random.default_rng(4).normal(0.3, 1.0, 60)
    estimate = bootstrap(values, seed=1)
    for null in np.linspace(-0.5, 1.0, 31):
        outside = not estimate.low <= null <= estimate.high
        p = bootstrap_p(values, float(null), seed=1)
        if abs(null - estimate.low) > 0.01 and abs(null - estimate.high) > 0.01:  # quantiles are interpolated
            assert (p < 0.05) == outside
    # Five clusters that all lie above the null: no resampled mean can reach it.
    assert bootstrap_p([0.1, 0.2, 0.3, 0.1, 0.4], n=999) == pytest.approx(2 / 1000)


def test_mcnemar_is_the_binomial_tail_of_the_differing_pairs() -> None:
    # 8 pairs differ, 1 against: 2·(C(8,0) + C(8,1))/2^8 = 18/256. Agreeing pairs say nothing.
    a = [1] * 7 + [0] + [1] * 20
    b = [0] * 7 + [1] + [1] * 20
    assert mcnemar(a, b) == pytest.approx(18 / 256)
    assert mcnemar([1, 0], [1, 0]) == 1.0
    with pytest.raises(ValueError, match="0 or 1"):
        mcnemar([0.5], [1])


def test_holm_steps_down_and_never_decreases() -> None:
    # Sorted .01 .02 .03 .04 times 4, 3, 2, 1 is .04 .06 .06 .04; made monotone .04 .06 .06 .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="p-values"):
        holm([1.5])


def test_cliffs_delta_counts_pairs() -> None:
    # Pairs (2,1) (3,1) (3,2) are larger, (2,2) is a tie: 3/4.
    assert cliffs_delta([2, 3], [1, 2]) == 0.75
    assert cliffs_delta([1, 2], [3, 4]) == -1.0
    with pytest.raises(ValueError, match="finite samples"):
        cliffs_delta([], [1])


def test_corrected_rate_undoes_the_test() -> None:
    # A true rate r is seen as r·sensitivity + (1 − r)(1 − specificity).
    assert corrected_rate(0.3 * 0.8 + 0.7 * 0.1, 0.8, 0.9) == pytest.approx(0.3)
    assert corrected_rate(0.42, 1.0, 1.0) == pytest.approx(0.42)
    assert corrected_rate(0.0, 0.9, 0.98) == 0.0
    with pytest.raises(ValueError, match="tell nothing"):
        corrected_rate(0.5, 0.5, 0.5)


def test_student_equals_the_table_and_averages_clusters() -> None:
    # 1 … 5: mean 3, s = √2.5, t(4, .975) = 2.776445: half-width 2.776445·√2.5/√5 = 2.776445/√2.
    estimate = student([1, 2, 3, 4, 5])
    assert (estimate.mean, estimate.n) == (3.0, 5)
    half = 2.776445 / 2**0.5
    assert (estimate.low, estimate.high) == pytest.approx((3 - half, 3 + half), rel=1e-6)
    assert student([0, 2, 1, 3, 2, 4, 4, 4, 5, 5], cluster=[1, 1, 2, 2, 3, 3, 4, 4, 5, 5]) == estimate


def test_student_covers_where_percentiles_of_five_do_not() -> None:
    rng = np.random.default_rng(6)
    samples = rng.normal(size=(400, 5))
    covered = [student(x).low <= 0 <= student(x).high for x in samples]
    percentiles = [(e := bootstrap(x, n=400)).low <= 0 <= e.high for x in samples]
    # Binomial standard deviation of 400 tries at .95 is .011, at .83 it is .019.
    assert 0.91 < np.mean(covered) < 0.98 and 0.77 < np.mean(percentiles) < 0.90


def test_student_refuses_one_observation_and_nan() -> None:
    with pytest.raises(ValueError, match="at least two"):
        student([1.0, 2.0], cluster=[7, 7])
    with pytest.raises(ValueError, match="finite"):
        student([1.0, float("nan")])
