from itertools import permutations

import networkx as nx
import numpy as np
import pytest
import torch

from heredity.search.cells import Cell, CellNetwork, DagCellSpace, canonical, dense_operations, prune, relabel
from heredity.search.functional_hash import FunctionalHash, initialise_by_shape

OPS = ("linear", "relu", "tanh", "identity", "half")
SPACE = DagCellSpace(OPS)


def samples(n, seed):
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(n)]


def reordered(cell, rng):
    """A random numbering of the vertices that keeps all edges pointing forwards."""
    graph = nx.DiGraph([(a, b) for a, b in cell.edges if a > 0 and b <= len(cell.ops)])
    graph.add_nodes_from(range(1, len(cell.ops) + 1))
    weight = rng.random(len(cell.ops) + 1)
    return relabel(cell, list(nx.lexicographical_topological_sort(graph, key=lambda v: weight[v])))


def behaviour(cell, generator):
    """Losses along three steps of gradient descent from weights that depend on shapes alone."""
    net = CellNetwork(cell, dense_operations(8)).double()
    initialise_by_shape(net)
    x = torch.randn(16, 8, dtype=torch.float64, generator=generator)
    losses = []
    for _ in range(4):
        loss = (net(x) - x.sin()).square().mean()
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, list(net.parameters())) if list(net.parameters()) else ()
        with torch.no_grad():
            for parameter, slope in zip(net.parameters(), grads, strict=True):
                parameter.add_(slope, alpha=-0.05)
    return losses


def test_isomorphic_and_pruned_cells_share_a_functional_hash():
    rng = np.random.default_rng(0)
    hash_of = FunctionalHash(behaviour)
    for cell in samples(200, 1):
        expected = hash_of(cell)
        assert hash_of(reordered(cell, rng)) == expected
        assert hash_of(prune(cell)) == expected


def test_cells_that_compute_otherwise_differ():
    hash_of = FunctionalHash(behaviour)
    chain = [Cell(((0, 1), (1, 2)), (op,)) for op in OPS]
    assert len({hash_of(cell) for cell in chain}) == 5
    skip = Cell(((0, 1), (1, 2), (0, 2)), ("identity",))  # x + x
    twice_half = Cell(((0, 1), (0, 2), (1, 3), (2, 3), (0, 3)), ("half", "half"))  # x/2 + x/2 + x
    assert hash_of(skip) == hash_of(twice_half) != hash_of(chain[3])


def labelled(cell):
    graph = nx.DiGraph(cell.edges)
    for v in graph.nodes:
        graph.nodes[v]["op"] = ("input", *cell.ops, "output")[v]
    return graph


def test_the_canonical_cell_is_exact():
    # networkx's isomorphism test is an independent judge.
    cells = [prune(cell) for cell in samples(120, 2)]
    keys = [canonical(cell) for cell in cells]
    for i, a in enumerate(cells):
        for j in range(i):
            same = nx.is_isomorphic(labelled(a), labelled(cells[j]), node_match=lambda x, y: x["op"] == y["op"])
            assert (keys[i] == keys[j]) == same
    assert 1 < len(set(keys)) < 120


def test_canonical_ignores_order_and_is_idempotent():
    rng = np.random.default_rng(3)
    for cell in samples(100, 3):
        assert canonical(reordered(cell, rng)) == canonical(cell) == canonical(canonical(cell))


def test_twins_are_tried_in_all_orders():
    # Three relus that differ only in which of two linears they feed: refinement leaves ties.
    edges = ((0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 4), (3, 5), (4, 6), (5, 6))
    cell = Cell(edges, ("relu", "relu", "relu", "linear", "linear"))
    keys = set()
    for order in permutations(range(1, 6)):
        try:
            keys.add(canonical(relabel(cell, order)))
        except ValueError:
            continue
    assert len(keys) == 1


def test_prune_drops_what_is_off_every_path():
    # 2 has no way out, 3 no way in.
    cell = Cell(((0, 1), (0, 2), (3, 4), (1, 4)), ("relu", "tanh", "half"))
    assert prune(cell) == Cell(((0, 1), (1, 2)), ("relu",))
    assert prune(Cell(((0, 1),), ("relu",))) is None and canonical(Cell(((0, 1),), ("relu",))) is None


def test_children_stay_in_the_space_and_parents_are_unchanged():
    rng = np.random.default_rng(4)
    a, b = samples(2, 5)
    before = (a, b, a.edges, b.ops)
    for _ in range(300):
        for child in (SPACE.mutate(a, rng), SPACE.crossover(a, b, rng)):
            assert SPACE.valid(child)
        assert set(SPACE.crossover(a, b, rng).edges) <= set(a.edges) | set(b.edges)
    assert (a, b, a.edges, b.ops) == before


def test_mutation_flips_three_edges_and_one_op_on_average():
    space = DagCellSpace(OPS, max_edges=21)
    rng = np.random.default_rng(6)
    cell = Cell(tuple((a, b) for a in range(6) for b in range(a + 1, 7) if a == 0 or b == 6), ("relu",) * 5)
    children = [space.mutate(cell, rng) for _ in range(2000)]
    # 21 edges at 1/7, 5 ops at 1/5; standard errors .036 and .02; almost every draw is valid at once.
    assert np.mean([len(set(c.edges) ^ set(cell.edges)) for c in children]) == pytest.approx(3.0, abs=0.15)
    assert np.mean([sum(op != "relu" for op in c.ops) for c in children]) == pytest.approx(1.0, abs=0.08)


def test_a_network_computes_its_graph():
    cell = Cell(((0, 1), (0, 2), (1, 2), (1, 3), (2, 3)), ("half", "relu"))
    x = torch.tensor([[1.0, -2.0]])
    # vertex 1: x/2; vertex 2: relu(x + x/2); output: their sum
    assert CellNetwork(cell, dense_operations(2))(x).tolist() == [[0.5 + 1.5, -1.0]]


def test_bad_cells_are_named():
    with pytest.raises(ValueError, match=r"edge \(2, 1\)"):
        Cell(((2, 1),), ("relu",))
    with pytest.raises(ValueError, match="once"):
        Cell(((0, 1), (0, 1)), ("relu",))
    with pytest.raises(ValueError, match="no path"):
        CellNetwork(Cell((), ("relu",)), dense_operations(2))
    with pytest.raises(ValueError, match="unknown operation 'conv'"):
        CellNetwork(Cell(((0, 1), (1, 2)), ("conv",)), dense_operations(2))
    with pytest.raises(ValueError, match="no cell of a space"):
        SPACE.mutate(Cell(((0, 1), (1, 2)), ("relu",)), np.random.default_rng(0))
    with pytest.raises(ValueError, match="a < b"):
        relabel(Cell(((0, 1), (1, 2), (2, 3)), ("relu", "relu")), (2, 1))
    with pytest.raises(ValueError, match="distinct ops"):
        DagCellSpace(("relu", "relu"))
