"""Recorded merges: the child of an operator is the child of the part it wraps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heredity.data.experts import MLP
from heredity.errors import BirthFailed, MergeError
from heredity.lab import Lab, Model
from heredity.lab.architecture import Architecture
from heredity.merging.births import Proposal
from heredity.merging.breeding import breed
from heredity.merging.data_flow import DataFlowRecipe
from heredity.merging.mergers import merger_for
from heredity.merging.operators import (
    Crossover,
    Ensemble,
    FlowThrough,
    Merge,
    MergeByRecipe,
    Mutate,
    Succeed,
    operator_for,
)
from heredity.merging.path_folding import fold_path
from heredity.merging.recipe import MergeRecipe

LATER = ("best_own", "best", "worst")


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"layers.0.weight": (4, 3), "layers.0.bias": (4,), "layers.1.weight": (2, 4)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def family(lab: Lab) -> list[Model]:
    return [lab.add(state(seed), name=f"m{seed}") for seed in range(4)]


def same(child: Model, expected: dict[str, torch.Tensor]) -> bool:
    found = child.weights()
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_ties", "model_stock"])
def test_a_recorded_merge_is_the_merge(lab: Lab, family: list[Model], method: str) -> None:
    child = lab.derive(Merge(method), *family[1:], base=family[0], seed=3)
    expected = merger_for(method, seed=3).merge([state(1), state(2), state(3)], base=state(0))
    assert same(child, expected)
    assert [role for role, _ in child.edges] == ["parent", "mate", "mate", "base"]
    assert child.kind == "merge"


def test_a_recipe_is_recorded_with_all_its_numbers_and_rebuilt_from_them(lab: Lab, family: list[Model]) -> None:
    weight = (((0.5,), (0.25,)), ((1.0,), (-0.5,)))
    recipe = MergeRecipe("task_arithmetic", weight, groups=(r"layers\.0\.", r"layers\.1\."))
    child = lab.derive(MergeByRecipe(recipe), family[1], family[2], base=family[0], keep=False)
    expected = merger_for(recipe).merge([state(1), state(2)], base=state(0))
    assert same(child, expected)
    with Lab(lab.path) as later:  # nothing is stored: the weights come from the record alone
        assert not later[child.id].has_weights
        assert same(later[child.id], expected)


@pytest.mark.parametrize(
    "proposal",
    [
        Proposal("init", (0, 1), ("parent", "mate"), (0.25, 0.75)),
        Proposal("crossover", (2, 1), ("parent", "mate"), (0.5, 0.5), method="blx", seed=5),
        Proposal("mutate", (1,), ("parent",), gene=0.5, sigma=0.1, seed=9),
        Proposal("succeed", (0, 1, 0, 2, 3), ("parent", "previous", *LATER), (0.1, 0.2, 0.3, -0.1)),
        Proposal("succeed", (0, 3, 0, 2, 1), ("parent", "other", *LATER), (0.1, 0, 0.3, -2.0), clip=True),
    ],
)
def test_a_proposal_gives_the_same_child_in_memory_and_in_a_lab(
    lab: Lab, family: list[Model], proposal: Proposal
) -> None:
    parents = [family[i] for i in proposal.parents]
    positional = [p for p, role in zip(parents, proposal.roles, strict=True) if role in ("parent", "mate")]
    roles = {role: p for role, p in zip(proposal.roles, parents, strict=True) if role not in ("parent", "mate")}
    child = lab.derive(operator_for(proposal), *positional, seed=proposal.seed, **roles)
    assert same(child, breed(proposal, [state(i) for i in proposal.parents]))


def test_a_founder_is_not_born() -> None:
    with pytest.raises(MergeError, match="no birth"):
        operator_for(Proposal("founder"))


def test_what_does_not_fit_is_named(lab: Lab, family: list[Model]) -> None:
    other = lab.add({**state(0), "layers.1.weight": torch.zeros(2, 5)})
    with pytest.raises(BirthFailed, match=r"layers\.1\.weight.*\(2, 4\).*\(2, 5\)"):
        lab.derive(Merge("linear"), family[0], other)
    with pytest.raises(BirthFailed, match="common ancestor"):
        lab.derive(Merge("ties"), *family)
    with pytest.raises(BirthFailed, match="role 'worst'"):
        lab.derive(Succeed((1, 1, 1, 1)), family[0], other=family[1], best_own=family[0], best=family[2])


def test_kinds_tell_what_happened(lab: Lab, family: list[Model]) -> None:
    assert lab.derive(Crossover((0.5, 0.5)), *family[:2]).kind == "crossover"
    assert lab.derive(Mutate(), family[0]).kind == "mutate"


def deep(lab: Lab, seed: int) -> Model:
    """An MLP with two inner layers, recorded as the digits' experts are."""
    spec = Architecture(MLP, {"widths": [6, 5, 5, 5, 3]})
    return lab.add(dict(MLP((6, 5, 5, 5, 3), seed).state_dict()), architecture=spec, name=f"deep{seed}")


# Two models of two layers, the row of four once: layers 0, 2 and 3 with input scales 0.5, −2 and 1.5.
PATH = DataFlowRecipe((True, False, True, True), ((0.5, 1, -2, 1), (1, 1, 1, 1), (1, 1, 1, 1.5), (1, 1, 1, 1)))


def test_a_recorded_path_is_the_folded_path_and_builds_a_deeper_network(lab: Lab) -> None:
    a, b = deep(lab, 0), deep(lab, 1)
    child = lab.derive(FlowThrough(PATH, (2, 2), "sequential"), a, b, keep=False)
    parents = [MLP((6, 5, 5, 5, 3), seed).state_dict() for seed in (0, 1)]
    folded = fold_path(parents, PATH, (2, 2), "sequential")
    assert same(child, folded)
    assert child.notes["path"] == [[0, 0], [1, 0], [1, 1]]
    with Lab(lab.path) as later:
        assert not later[child.id].has_weights, "it is rebuilt from its record"
        module = later[child.id].load()
    assert isinstance(module, MLP)
    assert module.widths == (6, 5, 5, 5, 5, 3)
    expected = MLP(module.widths)
    expected.load_state_dict(folded)
    x = torch.linspace(-1, 1, 12).reshape(2, 6)
    assert torch.equal(module(x), expected(x))


def llama(seed: int, **changes: object) -> torch.nn.Module:
    transformers = pytest.importorskip("transformers")
    settings = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.Qwen3Config(vocab_size=11, head_dim=4, num_key_value_heads=1, **{**settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return transformers.Qwen3ForCausalLM(config).eval()


def test_a_path_through_transformers_has_its_depth_and_loads(lab: Lab) -> None:
    window = {"use_sliding_window": True, "sliding_window": 4}
    modules = [llama(0, layer_types=["full_attention", "sliding_attention"], **window), llama(1, **window)]
    a, b = (lab.add(module, name=f"q{i}") for i, module in enumerate(modules))
    child = lab.derive(FlowThrough(PATH, (2, 2)), a, b)
    assert child.architecture is not None
    config = child.architecture["config"]
    assert config["num_hidden_layers"] == 3
    assert config["layer_types"] == ["full_attention"] * 3, "the layers 0 of the first and both of the second model"
    module = child.load()
    ids = torch.arange(10).reshape(2, 5)
    assert torch.isfinite(module(input_ids=ids).logits).all()
    assert same(child, fold_path([m.state_dict() for m in modules], PATH, (2, 2)))
    # A cache needs a place of its own for every layer, repeated ones too.
    twice = DataFlowRecipe((True,) * 8, ((1.0,) * 4,) * 4)
    written = lab.derive(FlowThrough(twice, (2, 2)), a, b).load().generate(ids, max_new_tokens=2, do_sample=False)
    assert written.shape == (2, 7)


def test_paths_that_no_network_can_have_are_refused(lab: Lab, family: list[Model]) -> None:
    one = DataFlowRecipe((True,), ((1.0,),))
    linear = lab.add(
        {f"layers.{i}.weight": torch.eye(2) for i in range(3)}, architecture=Architecture(torch.nn.Sequential, {})
    )
    with pytest.raises(BirthFailed, match=r"torch.*Sequential.*with_layers"):
        lab.derive(FlowThrough(one, (1,), "sequential"), linear)
    with pytest.raises(BirthFailed, match=r"differ in rms_norm_eps \(1e-06 and 0.5\)"):
        lab.derive(FlowThrough(PATH, (2, 2)), lab.add(llama(0)), lab.add(llama(1, rms_norm_eps=0.5)))
    uneven = Architecture(MLP, {"widths": [6, 5, 4, 5, 3]})
    narrowing = lab.add(dict(MLP((6, 5, 4, 5, 3)).state_dict()), architecture=uneven)
    # Layer 0 maps 5 to 4 and layer 1 maps 4 to 5: alone, the first cannot stand before the last map.
    with pytest.raises(BirthFailed, match="the last map reads 5 numbers, the layer before it gives 4"):
        lab.derive(FlowThrough(DataFlowRecipe((True, False), ((1.0, 1.0),) * 2), (2,), "sequential"), narrowing)
    # Weights without a recorded architecture stay without.
    bare = lab.add({f"layers.{i}.weight": torch.eye(2) for i in range(3)})
    assert lab.derive(FlowThrough(one, (1,), "sequential"), bare).architecture is None


@torch.no_grad()
def logits_of(model: Model, x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(model.load()(x).double(), 1)


def test_an_ensemble_is_one_model_that_votes(lab: Lab) -> None:
    members = [deep(lab, seed) for seed in range(3)]
    child = lab.derive(Ensemble(), *members, keep=False)
    assert child.kind == "merge"
    assert [role for role, _ in child.edges] == ["parent", "mate", "mate"]
    x = 20 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))  # so that inputs outweigh the biases
    with Lab(lab.path) as later:
        found = later[child.id].load()(x)
    votes = torch.stack([logits_of(member, x).argmax(1) for member in members])
    mean = torch.stack([logits_of(member, x) for member in members]).mean(0)
    for row, cast in enumerate(votes.T.tolist()):
        counts = [cast.count(label) for label in range(3)]
        tied = [label for label in range(3) if counts[label] == max(counts)]
        assert found[row].argmax() == max(tied, key=lambda label: float(mean[row, label]))
    assert len({tuple(cast) for cast in votes.T.tolist()}) > 3, "the members disagree"


def test_transformers_classifiers_vote_too(lab: Lab) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, num_labels=3
    )
    config.pad_token_id = 0
    modules = []
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            modules.append(transformers.LlamaForSequenceClassification(config).eval())
    child = lab.derive(Ensemble(), *[lab.add(module) for module in modules])
    ids = torch.arange(1, 9).reshape(2, 4)
    # Of two members that disagree the mean probability decides, as it does where they agree.
    mean = torch.stack([module(ids).logits.softmax(1) for module in modules]).mean(0)
    labels = torch.stack([module(ids).logits.argmax(1) for module in modules])
    found = child.load()(input_ids=ids)
    for row in range(2):
        tied = sorted(set(labels[:, row].tolist()))
        assert found[row].argmax() == max(tied, key=lambda label: float(mean[row, label]))


def test_tied_weights_stay_tied_inside_an_ensemble(lab: Lab) -> None:
    modules = [llama(seed, tie_word_embeddings=True) for seed in range(2)]
    child = lab.derive(Ensemble(), *[lab.add(module) for module in modules])
    assert not [name for name in child.weights() if name.endswith("lm_head.weight")], "stored once"
    ids = torch.arange(5)[None]
    for member, module in zip(child.load().members, modules, strict=True):
        assert member.lm_head.weight is member.model.embed_tokens.weight
        assert torch.equal(member(input_ids=ids).logits, module(input_ids=ids).logits)


def test_members_that_cannot_be_built_do_not_vote(lab: Lab, family: list[Model]) -> None:
    with pytest.raises(BirthFailed, match=r"member 1 .* has no recorded architecture"):
        lab.derive(Ensemble(), deep(lab, 0), family[0])


def test_an_ensemble_builds_nothing_outside_the_allow_list(lab: Lab) -> None:
    from heredity.errors import NotAllowed
    from heredity.merging.operators import vote_ensemble

    for path in ("os:system", "heredity.merging.operators:operator_for"):
        with pytest.raises(NotAllowed):
            vote_ensemble([{"kind": "class", "path": path, "config": {}}])
