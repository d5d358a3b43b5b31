"""Trials of the claim of arXiv 2305.02374: first weights by one search or another, then back-propagation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.lab import Architecture, Child, Context, Model, Operator, Parents, Probe, Request, architecture
from heredity.language.pairs import PairClassifier
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds.code_clones import ClonePairs, Clones, clones, logits_of
from heredity.search.box import Box
from heredity.search.differential_evolution import DifferentialEvolution, clu_de
from heredity.search.random_search import RandomSearch
from heredity.search.test_functions import TEST_FUNCTIONS
from heredity.search.vector import FlatParams
from heredity.training.focal import FocalLoss
from heredity.training.operators import EvolvedInit, Losses, Part

WORLD_SEED = 0
CHUNK = 8  # networks scored at once
FUNCTIONS = ("sphere", "rastrigin", "ackley", "schwefel")


@architecture
def pair_network(dim: int = 24, hidden: int = 8) -> PairClassifier:
    """One attentive LSTM for both functions, and a perceptron on their summaries and the difference."""
    return PairClassifier(None, hidden, dim=dim, tied=True)


ARCHITECTURE = Architecture(pair_network, {"dim": 24, "hidden": 8})


def population_logits(params: FlatParams, vectors: Tensor, pairs: Clones) -> Tensor:
    """Logits [P, N] of many `pair_network`s at once, given as vectors [P, size]; the same numbers up to rounding."""
    count = len(vectors)
    weights: dict[str, Tensor] = {}
    start = 0
    for name, shape in params.shapes.items():
        size = int(np.prod(shape))
        weights[name] = vectors[:, start : start + size].reshape(count, *shape)
        start += size
    x, mask = torch.cat([pairs.first.x, pairs.second.x]), torch.cat([pairs.first.mask, pairs.second.mask])
    rows, steps, dim = x.shape
    gates = _affine(x.transpose(0, 1).reshape(1, steps * rows, dim), weights, "first.lstm.weight_ih_l0", "")
    bias = weights["first.lstm.bias_ih_l0"] + weights["first.lstm.bias_hh_l0"]
    gates = (gates + bias[:, None]).view(count, steps, rows, -1)
    recurrent = weights["first.lstm.weight_hh_l0"].transpose(1, 2).contiguous()
    h = x.new_zeros(count, rows, recurrent.shape[1])
    c, states = torch.zeros_like(h), []
    for t in range(steps):
        i, f, g, o = torch.baddbmm(gates[:, t], h, recurrent).chunk(4, 2)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    stacked = torch.stack(states, 2)  # [P, rows, T, u]
    flat = stacked.view(count, rows * steps, -1)
    seen = torch.tanh(_affine(flat, weights, "first.attention.weight", "first.attention.bias"))
    scores = _affine(seen, weights, "first.query.weight", "").view(count, rows, steps)
    alpha = scores.masked_fill(~mask, -torch.inf).softmax(2)
    summary = (alpha[..., None] * stacked).sum(2)
    a, b = summary.chunk(2, 1)
    hidden = _affine(torch.cat([a, b, (a - b).abs()], 2), weights, "head.0.weight", "head.0.bias").relu()
    return _affine(hidden, weights, "head.2.weight", "head.2.bias")[..., 0]


def _affine(x: Tensor, weights: Mapping[str, Tensor], matrix: str, bias: str) -> Tensor:
    w = weights[matrix].transpose(1, 2)
    x = x.expand(len(w), -1, -1)
    return torch.baddbmm(weights[bias][:, None], x, w) if bias else torch.bmm(x, w)


@dataclass(frozen=True)
class FocalOnPairs:
    """Mean focal loss on a fixed, stratified set of training pairs, and on another that is held out from the search.

    Args:
        search, held_out: how many pairs.
        gamma, alpha: of the loss.
    """

    search: int = 512
    held_out: int = 256
    gamma: float = 2.0
    alpha: float = 0.25

    def losses(self, params: FlatParams, parents: Parents) -> Losses:
        """See `heredity.training.operators.InitObjective`."""
        world = parents.role("data")
        assert world is not None
        train = clones(world.weights(), "train")
        places = _stratified(train.label, (self.search, self.held_out))
        sets: dict[Part, Clones] = {"search": train.at(places[0]), "held_out": train.at(places[1])}
        focal = FocalLoss(self.gamma, self.alpha, "none")

        @torch.no_grad()
        def losses(vectors: NDArray[Any], part: Part) -> NDArray[Any]:
            pairs, found = sets[part], []
            for chunk in torch.split(torch.from_numpy(np.asarray(vectors, dtype=np.float32)), CHUNK):
                logits = population_logits(params, chunk, pairs)
                each = focal(logits.flatten(), pairs.label.repeat(len(chunk)))
                found.append(each.view(len(chunk), -1).mean(1))
            mean: NDArray[Any] = torch.cat(found).double().numpy()
            return mean

        return losses


def _stratified(labels: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    """Disjoint sets with the classes' shares, always the same: pairs come in random order."""
    share = float(labels.double().mean())
    yes, no = torch.nonzero(labels == 1)[:, 0], torch.nonzero(labels == 0)[:, 0]
    sets, i, j = [], 0, 0
    for size in sizes:
        ones = round(share * size)
        sets.append(torch.cat([yes[i : i + ones], no[j : j + size - ones]]))
        i, j = i + ones, j + size - ones
    return sets


@dataclass(frozen=True)
class TrainPairs(Operator):
    """Back-propagation on the training pairs of the birth given as `data=`, from the primary parent's weights.

    The child is the state with the best area under the precision–recall curve on validation pairs, looked at every
    `look` steps. Without a parent the network begins as PyTorch draws it, from the birth's seed.
    Notes the child's `steps`, its validation score `valid`, its test scores, and the `objective` of a searched start.

    Args:
        loss: "focal" (γ = 2, α = .25), "weighted" cross-entropy, by which both classes weigh the same, or "plain".
        steps, lr, decay, batch: of AdamW.
    """

    loss: Literal["focal", "weighted", "plain"]
    steps: int
    lr: float = 5e-3
    decay: float = 0.3
    batch: int = 128
    look: int = 25
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train."""
        world = parents.role("data")
        assert world is not None
        train, valid = clones(world.weights(), "train"), clones(world.weights(), "valid")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            model = pair_network(**ARCHITECTURE.config)
        if parents:
            model.load_state_dict(dict(parents[0].weights()))
        share = float(train.label.double().mean())
        losses = {
            "focal": FocalLoss(),
            "weighted": FocalLoss(0.0, (0.5 / (1 - share), 0.5 / share)),
            "plain": FocalLoss(0.0, None),
        }
        adam = torch.optim.AdamW(model.parameters(), lr=self.lr, weight_decay=self.decay, fused=True)
        best: tuple[float, int, dict[str, Tensor]] | None = None
        for step in range(self.steps + 1):
            if step % self.look == 0 or step == self.steps:
                score = _precision_area(model, valid)
                if best is None or score > best[0]:
                    best = (score, step, {name: t.clone() for name, t in model.state_dict().items()})
            if step == self.steps:
                break
            batch = train.at(torch.randint(len(train.label), (self.batch,), generator=context.generator))
            loss = losses[self.loss](logits_of(model, batch), batch.label)
            adam.zero_grad()
            loss.backward()
            adam.step()
            context.progress(step + 1, self.steps)
        assert best is not None
        model.load_state_dict(best[2])
        scores = test_scores(lambda pairs: _logits(model, pairs), world.weights())
        searched = {"objective": parents[0].notes["searched"]} if parents else {}
        return Child(best[2], ARCHITECTURE.spec(), {"steps": best[1], "valid": best[0], **scores, **searched})


def _precision_area(model: PairClassifier, pairs: Clones) -> float:
    from sklearn.metrics import average_precision_score

    logits = _logits(model, pairs)
    if not np.isfinite(logits).all():
        raise EvaluationFailed("the network's logits on the validation pairs are not finite")
    return float(average_precision_score(pairs.label.numpy(), logits))


@torch.no_grad()
def _logits(model: PairClassifier, pairs: Clones) -> NDArray[Any]:
    logits: NDArray[Any] = logits_of(model, pairs).numpy()
    return logits


@dataclass(frozen=True)
class LogisticFloor(Operator):
    """No network: class-weighted logistic regression on |mean(a) − mean(b)| and |Σa − Σb| of the cached vectors."""

    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Fit; the child holds scale and coefficients."""
        from sklearn.linear_model import LogisticRegression

        world = parents.role("data")
        assert world is not None
        train = clones(world.weights(), "train")
        x = summaries(train)
        scale = x.std(0)
        fit = LogisticRegression(class_weight="balanced", max_iter=2000).fit((x / scale).numpy(), train.label.numpy())
        weight, bias = torch.from_numpy(fit.coef_[0]) / scale, torch.from_numpy(fit.intercept_)
        scores = test_scores(lambda pairs: (summaries(pairs) @ weight + bias).numpy(), world.weights())
        return Child({"weight": weight, "bias": bias}, notes=scores)


def summaries(pairs: Clones) -> Tensor:
    """[N, 2 D] float64: absolute differences of the sides' means and sums."""
    sums = [(side.x * side.mask[..., None]).double().sum(1) for side in (pairs.first, pairs.second)]
    counts = [side.mask.sum(1, keepdim=True) for side in (pairs.first, pairs.second)]
    means = [total / count for total, count in zip(sums, counts, strict=True)]
    return torch.cat([(means[0] - means[1]).abs(), (sums[0] - sums[1]).abs()], 1)


def test_scores(answer: Callable[[Clones], NDArray[Any]], world: Mapping[str, Tensor]) -> dict[str, float]:
    """`auprc` on test pairs; at the threshold with the best F1 on validation pairs, `f1` and `g_mean`, the root of
    sensitivity times specificity.

    Args:
        answer: logits [N] of pairs.
        world: weights of a `ClonePairs` birth.

    Raises:
        EvaluationFailed: a logit is not finite.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    labels, scores = {}, {}
    for part in ("valid", "test"):
        pairs = clones(world, part)
        labels[part], scores[part] = pairs.label.numpy(), answer(pairs)
        if not np.isfinite(scores[part]).all():
            raise EvaluationFailed(f"logits of {part} pairs are not finite")
    precision, recall, thresholds = precision_recall_curve(labels["valid"], scores["valid"])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    guess, truth = scores["test"] >= thresholds[int(np.argmax(f1[:-1]))], labels["test"] == 1
    hits, alarms, misses = (guess & truth).sum(), (guess & ~truth).sum(), (~guess & truth).sum()
    specificity = (~guess & ~truth).sum() / (~truth).sum()
    return {
        "auprc": float(average_precision_score(truth, scores["test"])),
        "f1": float(2 * hits / max(1, 2 * hits + alarms + misses)),
        "g_mean": float(np.sqrt(hits / truth.sum() * specificity)),
    }


SEARCHERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "clu_de": (clu_de, {}),
    "rand1": (DifferentialEvolution, {"strategy": "rand1", "F": 0.5, "CR": 0.9}),
    "best1": (DifferentialEvolution, {"strategy": "best1", "F": 0.5, "CR": 0.9}),
    "random": (RandomSearch, {}),
}


@dataclass(frozen=True)
class OnFunctions(Probe):
    """What the searcher that the model was born by finds on test functions that are not rotated, as log₁₀ of the loss.

    Args:
        searcher: a key of `SEARCHERS`.
        seed: of the searcher and the functions' optima.
        dim, population, generations: of each run; it scores population × generations vectors.
    """

    searcher: str
    seed: int
    dim: int = 30
    population: int = 50
    generations: int = 300

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Search them all."""
        make, options = SEARCHERS[self.searcher]
        found = {}
        for name in FUNCTIONS:
            problem = TEST_FUNCTIONS[name](self.dim, seed=self.seed, rotate=False)
            box = Box(-problem.radius, problem.radius, dim=self.dim)
            searcher = make(box, population=self.population, seed=self.seed, **options)
            for _ in range(self.generations):
                searcher.tell_array(-problem(searcher.ask_array()))
            found[name] = float(np.log10(max(-searcher.best[1], 1e-30)))
        return found


def trial(cell: Cell) -> Steps:
    """The births of one cell: the world, perhaps a search of first weights, training."""
    (world,) = yield [Request(ClonePairs(tuple(cell.setting("pairs")), steps=cell.setting("steps")), seed=WORLD_SEED)]
    roles, notes = {"data": world}, ("auprc", "f1", "g_mean")
    init, loss = cell.setting("init"), cell.setting("loss")
    if init == "logistic":
        return Trial(Request(LogisticFloor(), roles=roles), notes=notes)
    parents: tuple[Model, ...] = ()
    if init != "default":
        make, options = SEARCHERS[init]
        population = cell.setting("population")
        own = {} if init == "random" else {"population": population}
        start = EvolvedInit(
            ARCHITECTURE, FocalOnPairs(), make, {**options, **own}, population, cell.setting("evaluations")
        )
        parents = tuple((yield [Request(start, roles=roles, seed=cell.seed)]))
    if loss == "none":
        functions = OnFunctions(init, cell.seed, generations=cell.setting("generations"))
        return Trial(Request(TrainPairs("focal", 0), parents, roles), (functions,), (*notes, "objective"))
    steps = cell.setting("training") + (0 if parents else cell.setting("search_steps"))
    return Trial(Request(TrainPairs(loss, steps), parents, roles, seed=cell.seed), notes=notes)
