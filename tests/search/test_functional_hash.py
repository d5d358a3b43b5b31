import json
import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed
from heredity.search.functional_hash import EquivalenceCache, FunctionalHash, initialise_by_shape, mix_floats


def test_number_order_and_count_of_values_matter():
    assert len({mix_floats(v) for v in ([], [1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [2.0], [-1.0])}) == 7
    assert mix_floats([-1.0], sign=False) == mix_floats([1.0], sign=False)
    assert 0 <= mix_floats([math.pi]) < 2**63


def test_only_the_leading_mantissa_bits_count():
    near = 1.0 + 2.0**-20  # bit 20 of the mantissa
    assert mix_floats([near], 8) == mix_floats([1.0], 8)
    assert mix_floats([near], 19) == mix_floats([1.0], 19)
    assert mix_floats([near], 20) != mix_floats([1.0], 20)
    # Cutting is not rounding: one unit in the last place below 1 is another exponent, and no b joins the two.
    assert mix_floats([math.nextafter(1.0, 0.0)], 1) != mix_floats([1.0], 1)


@pytest.mark.parametrize("bits", [0, 53, -1])
def test_mantissa_bits_outside_a_double_are_refused(bits):
    with pytest.raises(ValueError, match="1 to 52"):
        mix_floats([1.0], bits)
    with pytest.raises(ValueError, match="1 to 52"):
        FunctionalHash(lambda c, g: [c], bits)


@given(st.integers(1, 52), st.booleans())
def test_nan_infinities_and_zeros_have_codes_of_their_own(bits, sign):
    other_nan = float.fromhex("nan") * -1.0
    assert mix_floats([math.nan], bits, sign) == mix_floats([other_nan], bits, sign)
    assert mix_floats([-0.0], bits, sign) == mix_floats([0.0], bits, sign)
    codes = [math.nan, math.inf, -math.inf, 0.0, sys.float_info.max]
    assert len({mix_floats([v], bits, sign) for v in codes}) == 5


@given(st.lists(st.floats(allow_nan=False), max_size=4), st.lists(st.floats(allow_nan=False), max_size=4))
def test_with_all_bits_equal_hashes_mean_equal_values(a, b):
    assert (mix_floats(a, 52) == mix_floats(b, 52)) == (a == b)


def program_outputs(program, generator):
    return program(torch.randn(10, dtype=torch.float64, generator=generator)).tolist()


def test_programs_that_compute_the_same_share_a_hash():
    hash_of = FunctionalHash(program_outputs)
    assert hash_of(lambda x: x + x) == hash_of(lambda x: 2 * x)
    assert hash_of(lambda x: 3 * (x + 1)) != hash_of(lambda x: 3 * x)
    assert hash_of(lambda x: x * 1.01) != hash_of(lambda x: x)
    # x·0.1·10 is x but for rounding of about 1e-16, far below 2^-24; with all bits it shows.
    rounded = [lambda x: x, lambda x: x * 0.1 * 10 / 3 * 3]
    assert hash_of(rounded[0]) == hash_of(rounded[1])
    exact = FunctionalHash(program_outputs, 52)
    assert exact(rounded[0]) != exact(rounded[1])


def test_the_global_generator_is_put_back_and_stray_use_of_it_is_harmless():
    hash_of = FunctionalHash(lambda c, g: torch.randn(3).tolist())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = hash_of(None)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert hash_of(None) == first


def test_what_cannot_run_shares_a_hash_and_silence_is_refused():
    def broken(candidate, generator):
        raise EvaluationFailed("diverged")

    assert FunctionalHash(broken)(1) == FunctionalHash(lambda c, g: [math.nan])(2)
    with pytest.raises(ValueError, match="at least one"):
        FunctionalHash(lambda c, g: [])(1)


def test_the_hash_is_the_same_in_other_processes_and_under_other_salts():
    code = "from heredity.search.functional_hash import mix_floats; print(mix_floats([0.1, -2.5, 3e300], 24))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for salt in ("0", "4711")
    }
    assert seen == {str(mix_floats([0.1, -2.5, 3e300], 24))}


def test_initial_weights_depend_on_shapes_alone():
    a = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    b = nn.Sequential(nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(4, 4))
    for net in (a, b):
        initialise_by_shape(net, seed=3)
    assert torch.equal(a[0].weight, b[1].weight) and torch.equal(b[1].weight, b[2].weight)
    assert torch.equal(a[1].weight, b[0].weight) and not a[0].bias.any()
    wide = nn.Linear(100, 400)
    initialise_by_shape(wide, seed=3)
    assert wide.weight.detach().std().item() * 10 == pytest.approx(1.0, abs=0.02)  # 1/√100; 40,000 draws give ±.004
    initialise_by_shape(b, seed=4)
    assert not torch.equal(a[1].weight, b[0].weight)


def counting(values):
    stream = iter(values)
    return lambda candidate: next(stream)


def test_a_noisy_value_is_averaged_until_it_is_final():
    cache = EquivalenceCache(counting([1.0, 2.0, 3.0]), lambda c: 0, max_evals=3)
    answers = [cache("x") for _ in range(6)]
    assert [a.value for a in answers] == [1.0, 1.5, 2.0, 2.0, 2.0, 2.0]
    assert [a.hit for a in answers] == ["miss", "partial", "partial", "full", "full", "full"]
    assert [a.n_evals for a in answers] == [1, 2, 3, 3, 3, 3]
    stats = cache.stats
    assert (stats.misses, stats.partial_hits, stats.full_hits, stats.size) == (1, 2, 3, 1)
    assert stats.calls == 6 and stats.evaluations == 3


def test_with_certain_removal_every_other_call_misses():
    cache = EquivalenceCache(counting(range(100)), lambda c: 0, remove_probability=1.0)
    answers = [cache("x") for _ in range(20)]
    assert [a.hit for a in answers] == ["miss", "full"] * 10
    assert [a.value for a in answers[:6]] == [0, 0, 1, 1, 2, 2]  # a hit returns what it has just read


def test_removal_has_its_probability():
    cache = EquivalenceCache(lambda c: 1.0, lambda c: 0, remove_probability=0.1, seed=5)
    for _ in range(4000):
        cache("x")
    # Misses after the first follow removals: about 4,000 · .1/1.1 = 364, standard deviation about 17.
    assert abs(cache.stats.misses - 364) < 70


def test_failures_are_kept_and_never_averaged_away():
    def evaluate(candidate):
        calls.append(candidate)
        if len(calls) == 2:
            raise EvaluationFailed("diverged")
        return float("nan") if candidate == "bad" else 1.0

    calls: list[str] = []
    cache = EquivalenceCache(evaluate, lambda c: c, max_evals=3)
    assert cache("bad").outcome == Failed("value is nan")
    assert cache("x").outcome == Failed("diverged")
    assert cache("bad").hit == cache("x").hit == "full" and len(calls) == 2
    with pytest.raises(EvaluationFailed, match="diverged"):
        _ = cache("x").value
    assert cache("y").value == 1.0


def test_an_error_of_the_code_is_not_cached():
    cache = EquivalenceCache(lambda c: 1 / c, lambda c: 0)
    with pytest.raises(ZeroDivisionError):
        cache(0)
    assert cache.stats.calls == 0 and cache(2).hit == "miss"


def test_named_values_are_averaged_by_name():
    cache = EquivalenceCache(counting([{"a": 1.0, "b": 0.0}, {"a": 3.0, "b": 1.0}, {"a": 1.0}]), lambda c: 0, 3)
    cache("x")
    assert dict(cache("x").outcome.values) == {"a": 2.0, "b": 0.5}
    with pytest.raises(ValueError, match="under one hash"):
        cache("x")
    with pytest.raises(ValueError, match="several values"):
        _ = EquivalenceCache(lambda c: {"a": 1, "b": 2}, hash)(1).value


def test_a_saved_cache_goes_on_exactly_and_refuses_another_task():
    def make(task="t"):
        return EquivalenceCache(lambda c: c % 7, lambda c: c % 5, 2, 0.5, seed=9, task=task)

    whole, first = make(), make()
    stream = [(3 * i * i + i) % 11 for i in range(60)]
    expected = [whole(c) for c in stream]
    got = [first(c) for c in stream[:25]]
    resumed = make()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert got + [resumed(c) for c in stream[25:]] == expected and resumed.stats == whole.stats
    with pytest.raises(ValueError, match="other epochs"):
        make("other epochs").load_state_dict(first.state_dict())


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="max_evals"):
        EquivalenceCache(float, hash, 0)
    with pytest.raises(ValueError, match="remove_probability"):
        EquivalenceCache(float, hash, remove_probability=1.5)
