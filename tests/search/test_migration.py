import numpy as np

from heredity.search.migration import best_places, replace_worst


def test_the_best_leave_and_failures_never():
    assert best_places(np.array([1.0, -np.inf, 3.0, 3.0]), 3).tolist() == [2, 3, 0]
    assert best_places(np.array([1.0, -np.inf, 3.0, 3.0]), 9).tolist() == [2, 3, 0]
    assert best_places(np.empty(0), 2).tolist() == []


def test_strangers_replace_the_worst_if_they_are_better_and_new():
    members, fitness = np.arange(4.0)[:, None], np.array([4.0, 1.0, -np.inf, 3.0])
    strangers = np.array([[9.0], [8.0], [7.0], [3.0], [6.0]])
    replace_worst(members, fitness, strangers, np.array([2.0, 0.5, 3.5, 3.0, 3.5]))
    # 9 takes the failed place, 8 is worse than all, 7 takes that of 1, the 3 is known, 6 takes that of 9.
    assert members[:, 0].tolist() == [0, 7, 6, 3]
    assert fitness.tolist() == [4, 3.5, 3.5, 3]
    nobody = np.empty((0, 1))
    replace_worst(nobody, np.empty(0), strangers, np.ones(5))
    assert len(nobody) == 0
