import pytest
import torch

from heredity.errors import MergeError, NonFinite
from heredity.merging.births import Proposal
from heredity.merging.breeding import breed, crossover, mutate, succeed


def vector(*values, dtype=torch.float32):
    return {"w": torch.tensor(values, dtype=dtype)}


def same_bits(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a
    )


def test_linear_crossover_weighs_by_fitness():
    a, b = vector(4.0, -8.0), vector(0.0, 8.0)
    child = crossover([a, b], (1.0, 3.0))  # .25 a + .75 b
    torch.testing.assert_close(child["w"], torch.tensor([1.0, 4.0]), atol=1e-7, rtol=0)


def test_crossover_by_task_vectors_needs_the_base():
    a, b, base = vector(1.0, -1.0), vector(3.0, 2.0), vector(0.0, 0.0)
    # TIES by hand, weights 1: signs (+, +), kept (1, 3) and (−, 2): means 2 and 2.
    assert crossover([a, b], (1.0, 1.0), "ties", base=base)["w"].tolist() == [2.0, 2.0]
    with pytest.raises(MergeError, match="base"):
        crossover([a, b], (1.0, 1.0), "ties")
    with pytest.raises(MergeError, match="2 parents need 2 weights"):
        crossover([a, b], (1.0,))


def test_mutation_changes_its_share_with_its_spread():
    parent = {"w": torch.zeros(1_000_000)}
    child = mutate(parent, 0.1, 1e-3, seed=1)["w"]
    changed = child[child != 0]
    assert abs(len(changed) / 1e6 - 0.1) < 0.002  # standard error .0003
    assert abs(float(changed.double().std()) / 1e-3 - 1) < 0.01  # standard error .0022
    assert parent["w"].abs().max() == 0


def test_mutation_without_gene_or_sigma_is_a_copy():
    parent = vector(1.0, -0.0, 3.0)
    for gene, sigma in ((0.0, 1.0), (1.0, 0.0)):
        child = mutate(parent, gene, sigma, seed=1)
        assert same_bits(child, parent) and child["w"].data_ptr() != parent["w"].data_ptr()


def test_mutation_noise_is_counted_per_tensor_name():
    a, b = torch.zeros(50), torch.zeros(50)
    one, other = mutate({"a": a, "b": b}, 0.5, 1.0, seed=3), mutate({"b": b, "a": a}, 0.5, 1.0, seed=3)
    assert torch.equal(one["a"], other["a"]) and torch.equal(one["b"], other["b"])
    assert not torch.equal(one["a"], one["b"])
    assert not torch.equal(one["a"], mutate({"a": a}, 0.5, 1.0, seed=4)["a"])


def test_succession_moves_by_shares_of_differences():
    x, best, worst = vector(0.0, 2.0), vector(4.0, 2.0), vector(0.0, 10.0)
    # x + .5 (best − x) − .25 (worst − x) = (0 + 2 − 0, 2 + 0 − 2)
    assert succeed(x, [best, worst], (0.5, -0.25))["w"].tolist() == [2.0, 0.0]


def test_clipping_bounds_the_move_by_the_farthest_parent():
    x, p = vector(0.0, 0.0), vector(3.0, 4.0)
    torch.testing.assert_close(succeed(x, [p], (2.0,), clip=True)["w"], p["w"])  # length 10 → 5
    assert succeed(x, [p], (2.0,))["w"].tolist() == [6.0, 8.0]
    assert succeed(x, [p], (0.5,), clip=True)["w"].tolist() == [1.5, 2.0]


def test_equal_parents_give_the_parent_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    parent = {
        "w": torch.randn(1000, generator=generator),
        "half": torch.randn(100, generator=generator).to(torch.float16),
        "zero": torch.tensor([0.0, -0.0]),
        "count": torch.tensor(7),
    }
    twin = {k: v.clone() for k, v in parent.items()}
    assert same_bits(succeed(parent, [twin] * 4, (0.3, -0.2, 0.7, 1.1)), parent)
    assert same_bits(succeed(parent, [twin] * 4, (0.3, -0.2, 0.7, 1.1), clip=True), parent)
    assert same_bits(crossover([parent, twin], (0.3, 0.7)), parent)
    assert same_bits(crossover([parent, twin], (0.3, 0.7), "dare_ties", base=twin), parent)


def test_dtypes_are_kept_and_parents_untouched():
    x, p = vector(1.0, 2.0, dtype=torch.bfloat16), vector(3.0, 4.0, dtype=torch.bfloat16)
    for child in (succeed(x, [p], (0.5,)), mutate(x, 1.0, 1.0, seed=0), crossover([x, p], (1, 1))):
        assert child["w"].dtype == torch.bfloat16
    assert x["w"].tolist() == [1.0, 2.0]


def test_breed_follows_the_proposal():
    a, b = vector(0.0), vector(1.0)
    assert breed(Proposal("crossover", (0, 1), ("parent", "mate"), (0.5, 0.5)), [a, b])["w"].item() == 0.5
    assert breed(Proposal("succeed", (0, 1), ("parent", "best"), (0.25,)), [a, b])["w"].item() == 0.25
    mutation = Proposal("mutate", (0,), ("parent",), gene=1.0, sigma=1.0, seed=5)
    assert torch.equal(breed(mutation, [a])["w"], mutate(a, 1.0, 1.0, seed=5)["w"])
    with pytest.raises(MergeError, match="no birth"):
        breed(Proposal("founder"), [])
    with pytest.raises(MergeError, match="asks for 2 parents, 1 given"):
        breed(Proposal("crossover", (0, 1), ("parent", "mate"), (0.5, 0.5)), [a])


def test_non_finite_values_are_named():
    with pytest.raises(NonFinite, match="'w'"):
        mutate(vector(float("nan")), 1.0, 1.0, seed=0)
    with pytest.raises(NonFinite, match="'w'"):
        succeed(vector(0.0), [vector(float("inf"))], (0.5,))
    with pytest.raises(NonFinite, match=r"overflows torch.float16"):
        succeed(vector(0.0, dtype=torch.float16), [vector(6e4, dtype=torch.float16)], (2.0,))
    with pytest.raises(MergeError, match="gene"):
        mutate(vector(0.0), 1.5, 1.0, seed=0)
    with pytest.raises(MergeError, match="keys differ"):
        succeed(vector(0.0), [{"v": torch.zeros(1)}], (0.5,))
