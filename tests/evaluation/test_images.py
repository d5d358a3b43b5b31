import numpy as np
import pytest

from heredity.evaluation.images import inception_score


def test_the_extremes():
    assert inception_score(np.full((20, 10), 0.1))[0] == pytest.approx(1)
    sure = np.tile(np.eye(10), (3, 1))
    assert inception_score(sure)[0] == pytest.approx(10)
    assert inception_score(sure, splits=3) == (pytest.approx(10), pytest.approx(0))


@pytest.mark.parametrize("bad", [np.ones((3, 2)), np.array([[np.nan, 1.0]]), np.ones(3)])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="probabilities"):
        inception_score(bad)
