"""Seed chains: their bytes, and that they decode to the same bits wherever and however they are decoded."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from torch import nn

from heredity.errors import NonFinite
from heredity.search.seed_noise import BLOCK, add_noise, quantiles
from heredity.search.seedchain import SEEDS, SeedChain, SeedChains, SeedDecoder

CHAIN = SeedChain(7, ((11, 0.3), (13, 0.02), (2**32 - 1, 0.5)))
SEED = st.integers(0, SEEDS - 1)
CHAINS = st.builds(
    SeedChain, SEED, st.lists(st.tuples(SEED, st.floats(0, 1e6, allow_nan=False)), max_size=6).map(tuple)
)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(100, 50), nn.Tanh(), nn.Linear(50, 3))


@given(CHAINS)
def test_bytes_hold_a_chain_exactly(chain):
    content = chain.to_bytes()
    assert SeedChain.from_bytes(content) == chain
    assert len(content) == chain.nbytes() < 8 * (len(chain) + 1) + 16


def test_a_long_chain_is_ten_thousand_times_smaller_than_its_network():
    chain = SeedChain(0, tuple((seed, 0.002) for seed in range(50)))
    assert 4 * 4_000_000 / chain.nbytes() > 10_000  # 16 MB over 8 · 51 = 408 bytes


@pytest.mark.parametrize("content", [b"", b"1234567", CHAIN.to_bytes()[:-1], CHAIN.to_bytes() + b"\0" * 8])
def test_damaged_bytes_are_refused(content):
    with pytest.raises(ValueError, match="no seed chain"):
        SeedChain.from_bytes(content)


@pytest.mark.parametrize("steps", [((-1, 0.1),), ((2**32, 0.1),), ((0, -0.1),), ((0, float("nan")),)])
def test_wrong_steps_are_refused(steps):
    with pytest.raises(ValueError, match=r"seed of a chain|power of a mutation"):
        SeedChain(0, steps)


def test_parents_and_children():
    assert CHAIN.parent == SeedChain(7, CHAIN.steps[:2])
    assert CHAIN.parent.child(2**32 - 1, 0.5) == CHAIN
    assert SeedChain(3).parent is None


def test_the_space_of_chains():
    space, rng = SeedChains(0.1), np.random.default_rng(0)
    root = space.sample(rng)
    child = space.mutate(root, rng)
    assert space.valid(child)
    assert (child.root, len(child), child.steps[0][1]) == (root.root, 1, float(np.float32(0.1)))
    with pytest.raises(TypeError, match="cannot be crossed"):
        space.crossover(root, child, rng)


def test_another_process_decodes_the_same_bits():
    code = (
        "import sys; from torch import nn; from heredity.search.seedchain import SeedChain, SeedDecoder\n"
        "net = nn.Sequential(nn.Linear(100, 50), nn.Tanh(), nn.Linear(50, 3))\n"
        "vector = SeedDecoder(net).vector(SeedChain.from_bytes(bytes.fromhex(sys.argv[1])))\n"
        "print(vector.numpy().tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, CHAIN.to_bytes().hex()], capture_output=True, text=True, check=True
    )
    assert bytes.fromhex(done.stdout) == SeedDecoder(net()).vector(CHAIN).numpy().tobytes()


@pytest.mark.parametrize("noise", ["philox", "table:20000"])
def test_a_child_is_its_parent_plus_power_times_noise(noise):
    decoder = SeedDecoder(net(), noise=noise)
    child = decoder.vector(CHAIN.parent).numpy()
    decoder.add(child, *CHAIN.steps[-1])
    assert child.tobytes() == decoder.vector(CHAIN).numpy().tobytes()
    for other in (SeedDecoder(net(), noise=noise, cache=0), SeedDecoder(net(), noise=noise, cache=1, threads=3)):
        assert other.vector(CHAIN).equal(torch.from_numpy(child))


def test_noise_is_added_in_the_order_of_the_chain():
    decoder = SeedDecoder(net(), cache=0)
    theta = decoder.root(CHAIN.root)
    total = np.zeros_like(theta)
    for seed, power in CHAIN.steps:
        decoder.add(theta, seed, power)
        decoder.add(total, seed, power)
    assert decoder.vector(CHAIN).numpy().tobytes() == theta.tobytes()
    # Summing the noise first is another rounding, which the decoder must not use.
    assert (decoder.root(CHAIN.root) + total).tobytes() != theta.tobytes()


def test_decoded_vectors_are_copies():
    decoder = SeedDecoder(net())
    before = decoder.vector(CHAIN)
    decoder.vector(CHAIN).zero_()
    decoder.vectors([CHAIN, CHAIN.parent]).zero_()
    decoder.root(7)[:] = 0
    assert decoder.vector(CHAIN).equal(before)
    assert decoder.vectors([CHAIN.parent, CHAIN])[1].equal(before)


def test_noise_is_normal_and_a_longer_vector_begins_as_a_shorter_one():
    size = 3 * BLOCK + 5
    long, short = np.zeros(size, np.float32), np.zeros(BLOCK + 7, np.float32)
    add_noise(long, 5, 1.0)
    add_noise(short, 5, 1.0)
    assert long[: short.size].tobytes() == short.tobytes()
    # 196,613 values: the mean's standard error is 0.0023, that of the standard deviation 0.0016.
    assert abs(long.mean()) < 0.01
    assert abs(long.std() - 1) < 0.007
    # Blocks are independent: a repeated block would correlate fully; standard error 1/256.
    assert abs(np.corrcoef(long[:BLOCK], long[BLOCK : 2 * BLOCK])[0, 1]) < 0.02


def test_noise_keeps_its_values():
    """A record made today must decode tomorrow, and on another machine."""
    theta = np.zeros(BLOCK + 2, np.float32)
    add_noise(theta, 123, 1.0)
    np.testing.assert_array_equal(
        theta[:3], np.float32([0.7982974648475647, -0.5754045844078064, -0.11224484443664551])
    )
    np.testing.assert_array_equal(theta[-2:], np.float32([-0.487634539604187, -0.45769578218460083]))


def test_noise_is_made_of_quantiles():
    values = quantiles()
    assert hashlib.sha256(values.tobytes()).hexdigest().startswith("1cfbba1e07e34386")
    assert (np.diff(values) > 0).all()
    # The quantile function's own check: the distribution function of value i is (i + ½) / 65,536.
    np.testing.assert_allclose(ndtr(values.astype(float)), (np.arange(65536) + 0.5) / 65536, rtol=2e-6)


def test_roots_are_scaled_by_fan_in_and_mutations_are_not():
    decoder = SeedDecoder(net())
    names = decoder.params.names
    root = decoder.params.state(decoder.vector(SeedChain(1)))
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    # Standard deviation 1/√100; the output layer is the last: 0.1/√50 = 0.01414. 5,000 and 150 values.
    assert root["0.weight"].std().item() == pytest.approx(0.1, rel=0.05)
    assert root["2.weight"].std().item() == pytest.approx(0.1 / 50**0.5, rel=0.2)
    alone = SeedDecoder(nn.Linear(100, 50))
    assert alone.vector(SeedChain(1))[:5000].std().item() == pytest.approx(0.01, rel=0.05)
    for state in (root, alone.state(SeedChain(1))):
        assert all((tensor == 0).all() for name, tensor in state.items() if name.endswith("bias"))
    wide = SeedDecoder(nn.Linear(2, 5000))
    assert wide.state(SeedChain(1, ((2, 0.3),)))["bias"].std().item() == pytest.approx(0.3, rel=0.1)


def test_gains_start_as_they_are_and_a_template_can_be_every_root():
    template = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    state = SeedDecoder(template).state(SeedChain(4))
    assert state["1.weight"].tolist() == [1.0, 1.0, 1.0]
    assert state["1.bias"].tolist() == [0.0, 0.0, 0.0]
    around = SeedDecoder(template, "template")
    assert all(around.state(SeedChain(seed))[k].equal(v) for seed in (1, 2) for k, v in template.state_dict().items())


def test_loading_into_a_module():
    decoder, module = SeedDecoder(net()), net()
    decoder.load(CHAIN, module)
    assert decoder.params.flatten(module).equal(decoder.vector(CHAIN))


def test_what_cannot_be_decoded_is_refused():
    with pytest.raises(ValueError, match="running_mean"):
        SeedDecoder(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match="shorter than the 5203 parameters"):
        SeedDecoder(net(), noise="table:100")
    with pytest.raises(ValueError, match="table:<n>"):
        SeedDecoder(net(), noise="mersenne")
    with pytest.raises(NonFinite, match="root 1 and 2 mutations"):
        SeedDecoder(nn.Linear(9, 9)).vector(SeedChain(1, ((2, 3e38), (2, 3e38))))
