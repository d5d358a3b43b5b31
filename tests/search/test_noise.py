import numpy as np
import pytest
import torch

from heredity.search.noise import BLOCK, BULK, around, mirrored, normal, weighted_squares, weighted_sum

SMALL, LARGE, WIDE = (6, 5), (300, 700), (3, BLOCK + 1)  # below BULK; several blocks of rows; rows larger than a block


def rng(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_noise_is_standard_normal_of_its_generator(shape, dtype):
    noise = normal(rng(), shape, dtype)
    assert noise.shape == shape and noise.dtype == dtype
    assert np.array_equal(noise, normal(rng(), shape, dtype))
    assert not np.array_equal(noise, normal(rng(1), shape, dtype))
    if shape == LARGE:  # 210 000 entries: 5 standard errors of the moments 0, 1, 0, 3 (variances 1, 2, 15, 96)
        for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], 1):
            assert abs(np.mean(noise.astype(float) ** power) - moment) < 5 * np.sqrt(variance / noise.size)


def test_two_draws_of_a_generator_differ_and_write_into_what_fits():
    source, out = rng(), np.empty(LARGE, np.float32)
    first = normal(source, LARGE, np.float32, out)
    assert first is out
    kept = first.copy()
    assert normal(source, LARGE, np.float32, out) is out and not np.array_equal(kept, out)
    assert normal(source, SMALL, np.float32, out).shape == SMALL  # does not fit: a new array


def test_the_number_of_threads_changes_no_bit():
    weights = rng(2).standard_normal(LARGE[0]).astype(np.float32)
    mean, sigma = rng(3).standard_normal((2, LARGE[1])).astype(np.float32)

    def everything():
        noise = normal(rng(), LARGE, np.float32)
        pair = mirrored(mean, sigma, noise)
        return [noise, around(mean, sigma, noise), pair, weighted_sum(weights, noise), weighted_squares(weights, noise)]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = everything()
        torch.set_num_threads(2)
        assert all(np.array_equal(a, b) for a, b in zip(one, everything(), strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [SMALL, LARGE, WIDE])
def test_spread_and_sums_are_what_they_say(shape):
    noise = normal(rng(), shape, np.float64)
    weights, mean = rng(2).standard_normal(shape[0]), rng(3).standard_normal(shape[1])
    sigma = np.exp(rng(4).standard_normal(shape[1]))
    assert (noise.size < BULK) == (shape == SMALL)
    assert np.allclose(around(mean, sigma, noise), mean + sigma * noise, rtol=1e-14)
    pairs = mirrored(mean, sigma, noise)
    assert np.allclose(pairs[::2], mean + sigma * noise) and np.allclose(pairs[1::2], mean - sigma * noise)
    assert np.allclose(weighted_sum(weights, noise), np.einsum("i,ij->j", weights, noise))
    assert np.allclose(weighted_squares(weights, noise), np.einsum("i,ij->j", weights, noise**2))
