import numpy as np

from heredity.search.shaping import centered_ranks, nes_utilities, pair_signs, ranks, z_scores

BAD = -np.inf


def test_ranks_keep_the_order_of_equals():
    assert ranks(np.array([1.0, 3.0, 3.0, BAD])).tolist() == [2, 0, 1, 3]
    assert centered_ranks(np.array([1.0, 3.0, 3.0, BAD])).tolist() == [0.5 - 2 / 3, 0.5, 0.5 - 1 / 3, -0.5]


def test_averaged_ranks_of_equals_are_equal_and_sum_to_zero():
    # Ranks 2, (0 + 1)/2 twice, (3 + 4)/2 twice of five: ½ − rank/4.
    found = centered_ranks(np.array([1.0, 3.0, 3.0, BAD, BAD]), ties="average")
    assert found.tolist() == [0.0, 0.375, 0.375, -0.375, -0.375]
    assert not centered_ranks(np.ones(7), ties="average").any()
    rows = np.random.default_rng(0).integers(0, 4, (5, 9)).astype(float)
    both = centered_ranks(rows, ties="average")
    assert np.array_equal(both, [centered_ranks(row, ties="average") for row in rows])


def test_pairs_look_only_at_each_other():
    assert pair_signs(np.array([1.0, 2.0, 9.0, 8.0, 3.0, 3.0, BAD, -5.0, BAD, BAD])).tolist() == [
        *(0.0, 1.0), *(1.0, 0.0), *(0.5, 0.5), *(0.0, 1.0), *(0.5, 0.5)
    ]  # fmt: skip


def test_z_scores_take_a_failure_for_the_worst():
    assert np.allclose(z_scores(np.array([3.0, 1.0, BAD])), np.array([2, -1, -1]) / np.sqrt(2))
    assert z_scores(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]


def test_utilities_of_four_by_hand():
    # ln 3 − ln k for k = 1, 2, and 0 after (ln 3 − ln 3 = 0 for the third): 1.0986, 0.4055.
    raw = np.array([np.log(3), np.log(1.5), 0, 0])
    assert np.allclose(nes_utilities(4), raw / raw.sum() - 0.25) and abs(nes_utilities(50).sum()) < 1e-15
