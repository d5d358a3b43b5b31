import numpy as np
import pytest
import torch

from heredity.search.edge_cells import EdgeCellModule, EdgeCellSpace, conv_operations, edges_of, reaching

CUT = ("zero",) * 6
DIRECT = ("zero", "zero", "zero", "skip", "zero", "zero")  # edges (0,1), (0,2), (1,2), (0,3), (1,3), (2,3)


def test_edges_by_target():
    assert edges_of(4) == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def test_only_edges_on_paths_count():
    assert reaching(CUT, 4) == [] and reaching(DIRECT, 4) == [3]
    # 0→1→2 without an edge from 2 to 3 is dead; 0→3 remains.
    assert reaching(("conv3", "zero", "conv1", "skip", "zero", "zero"), 4) == [3]
    assert reaching(("conv3", "zero", "conv1", "zero", "zero", "skip"), 4) == [0, 2, 5]


def test_the_module_is_the_sum_over_paths():
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(EdgeCellModule(DIRECT, conv_operations(3))(x), x)
    # All skips: node 1 is x, node 2 is 2x, node 3 is x + x + 2x.
    assert torch.equal(EdgeCellModule(("skip",) * 6, conv_operations(3))(x), 4 * x)
    module = EdgeCellModule(("conv3", "zero", "zero", "avgpool3", "conv1", "zero"), conv_operations(3))
    conv3, pool, conv1 = module.operations
    assert torch.allclose(module(x), pool(x) + conv1(conv3(x)))


def test_cells_without_a_path_and_unknown_operations_are_refused():
    with pytest.raises(ValueError, match="no path"):
        EdgeCellModule(CUT, conv_operations(3))
    with pytest.raises(ValueError, match="unknown operation 'fly'"):
        EdgeCellModule(("fly",) * 6, conv_operations(3))


def test_space_keeps_its_condition_and_mutants_differ_in_one_edge():
    space = EdgeCellSpace(valid=lambda ops: ops.count("conv3") >= 2)
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = space.sample(rng), space.sample(rng)
        child, mixed = space.mutate(a, rng), space.crossover(a, b, rng)
        assert space.valid(a) and space.valid(child) and space.valid(mixed)
        assert sum(x != y for x, y in zip(a, child, strict=True)) == 1
        assert all(z in (x, y) for x, y, z in zip(a, b, mixed, strict=True))
    assert not space.valid(DIRECT) and not space.valid(("skip",))
    with pytest.raises(ValueError, match="no valid cell"):
        space.mutate(DIRECT, rng)
