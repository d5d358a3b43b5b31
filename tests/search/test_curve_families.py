import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heredity.errors import EvaluationFailed
from heredity.search.curve_families import FAMILIES, MMF, Exponential, LastValue, Logarithm, PowerLaw, Weibull

X = np.arange(5000.0, 100_001.0, 5000.0)


def test_a_power_law_is_recovered_from_exact_data():
    found = PowerLaw.fit(X, 97 - 200 * X**-0.5)
    assert (found.a, found.b, found.c) == pytest.approx((200, 0.5, 97), abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(b=st.floats(0.2, 1.5), c=st.floats(20, 100), range_=st.floats(1, 20))
def test_any_power_law_is_recovered(b, c, range_):
    a = range_ * X[0] ** b  # so that `range_` points are missing at the first size
    found = PowerLaw.fit(X, c - a * X**-b)
    assert found(1e6) == pytest.approx(c - a * 1e6**-b, abs=1e-3)


@pytest.mark.parametrize(
    "curve", [Exponential(30.0, 4e-5, 90.0), Weibull(40.0, 0.02, 0.4, 95.0), MMF(10.0, 1e-4, 0.8, 93.0)]
)
def test_other_families_recover_themselves(curve):
    found = type(curve).fit(X, curve.values(X))
    assert np.abs(found.values(X) - curve.values(X)).max() < 1e-2
    assert found(3e5) == pytest.approx(curve(3e5), abs=0.2)


def test_gradients_are_derivatives():
    u = np.array([1.0, 2.0, 7.0])
    for kind, p in ((PowerLaw, [3.0, 0.7, 90.0]), (Exponential, [3.0, 0.2, 90.0])):
        point = np.array(p)
        for place in range(3):
            step = np.zeros(3)
            step[place] = 1e-6
            slope = (kind(*(point + step)).values(u) - kind(*(point - step)).values(u)) / 2e-6
            assert np.allclose(kind.gradient(point, u)[:, place], slope, atol=1e-6)


def test_an_anchor_pulls_the_asymptote_like_one_observation():
    y = 97 - 200 * X**-0.5
    pulled = PowerLaw.fit(X, y, anchor=90.0)
    assert 90 < pulled.c < 97
    assert PowerLaw.fit(X, y, anchor=97.0).c == pytest.approx(97, abs=1e-3)  # no residual, nothing moves


def test_weights_decide_between_observations_that_disagree():
    y = 97 - 200 * X**-0.5
    y[-1] -= 3
    trusting = PowerLaw.fit(X, y).values(X)[-1]
    doubting = PowerLaw.fit(X, y, weights=np.append(np.ones(len(X) - 1), 1e-6)).values(X)[-1]
    assert trusting < doubting == pytest.approx(97 - 200 * X[-1] ** -0.5, abs=1e-2)


def test_a_limit_bounds_the_asymptote():
    y = 120 - 400 * X**-0.5  # honest asymptote 120
    assert PowerLaw.fit(X, y).c == pytest.approx(120, abs=1e-2)
    assert PowerLaw.fit(X, y, limit=100.0).c <= 100


def test_equal_observations_have_their_value_as_asymptote():
    assert PowerLaw.fit([1, 2, 3], [70.0, 70.0, 70.0]) == PowerLaw(0.0, 0.5, 70.0)


def test_the_value_at_infinity_is_the_asymptote_and_the_logarithm_has_none():
    assert PowerLaw(200.0, 0.5, 97.0)(math.inf) == 97.0
    assert Logarithm.fit([1, 2, 4], [10.0, 11.0, 12.0])(math.inf) == math.inf
    assert Logarithm.fit([1, 2, 4], [10.0, 11.0, 12.0])(8.0) == pytest.approx(13.0)  # one point per doubling
    assert LastValue.fit([1, 2, 3], [5.0, 7.0, 6.0])(1e9) == 6.0


def test_curves_that_cannot_be_fitted_are_failures_not_numbers():
    with pytest.raises(EvaluationFailed, match="does not converge"):
        PowerLaw.fit(np.arange(1.0, 9.0), np.arange(1.0, 9.0) ** 2)  # convex: no power law with an asymptote


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2], [1, 2]), ([1, 1, 2], [1, 2, 3]), ([0, 1, 2], [1, 2, 3]), ([1, 2, 3], [1, math.nan, 3])],
)
def test_wrong_observations_are_named(x, y):
    for kind in FAMILIES.values():
        with pytest.raises(ValueError, match=r"sizes|finite"):
            kind.fit(x, y)


def test_a_curve_too_steep_for_numbers_is_a_failure():
    heights = np.array([10.0, 90.0, 90.0, 90.0])
    assert PowerLaw.fit(np.arange(1, 5) * 5e3, heights).b > 40
    with pytest.raises(EvaluationFailed, match=r"the PowerLaw of 4 observations is too steep for sizes such as 5e\+06"):
        PowerLaw.fit(np.arange(1, 5) * 5e6, heights)
