import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from torch import nn

from heredity.errors import EvaluationFailed
from heredity.search.fields import Int, LogUniform, Uniform
from heredity.search.pbt import PBT
from heredity.search.pbt_driver import replay_schedule, run_pbt
from heredity.search.training_state import HyperparameterLost, Training

SPACE = {"lr": LogUniform(1e-3, 1e-1), "dropout": Uniform(0.0, 0.5)}
X = torch.linspace(-1, 1, 64)[:, None]
Y = torch.sin(3 * X)


def make(hyper, seed):
    module = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(hyper["dropout"]), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(module.parameters(), lr=hyper["lr"])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _decay)
    return Training(module, optimizer, scheduler, torch.Generator().manual_seed(seed), {"batches": []})


def _decay(step):
    return 1 / (1 + 0.01 * step)


def step(training, hyper):
    training.module.train()
    for _ in range(4):
        rows = torch.randint(64, (16,), generator=training.generator)
        training.extra["batches"].append(rows.tolist())
        training.optimizer.zero_grad()
        (training.module(X[rows]) - Y[rows]).square().mean().backward()
        training.optimizer.step()
        training.scheduler.step()


def evaluate(training):
    training.module.eval()
    with torch.no_grad():
        return -float((training.module(X) - Y).square().mean())


def search(**settings):
    return PBT(SPACE, 6, **{"seed": 1, **settings})


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_it_trains_improves_and_repeats_without_the_global_generators():
    torch.manual_seed(0)
    first = run_pbt(search(), make, step, evaluate, 8)
    before = torch.get_rng_state()
    second = run_pbt(search(), make, step, evaluate, 8)
    assert torch.equal(before, torch.get_rng_state())
    assert first.pbt.events == second.pbt.events and same(first.best[2], second.best[2])
    start = max(score for _, score in first.pbt.events[:6])
    assert first.best[1] > start / 2  # losses are negative: at most half of the first round's
    assert any(kind == "exploit" for _, _, kind in first.pbt.lineage())


def test_a_loser_has_the_winners_weights_and_moments_and_the_explored_rate():
    seen, tasks = {}, {}

    def watched_make(hyper, seed):
        training = make(hyper, seed)
        training.seed = seed  # tells the rounds apart
        return training

    def watched_step(training, hyper):
        group = training.optimizer.param_groups[0]
        weights = {name: p.detach().clone() for name, p in training.module.named_parameters()}
        moments = [state["exp_avg"].clone() for state in training.optimizer.state.values()]
        seen[training.seed] = weights, moments, group["initial_lr"], group["lr"]
        step(training, hyper)

    result = run_pbt(
        search(), watched_make, watched_step, evaluate, 5, report=lambda c, _: tasks.update({c.id: c.value})
    )
    pairs = [
        (copy, donor)
        for copy in tasks.values()
        for donor in tasks.values()
        if copy.donor is not None and donor.parent == copy.parent and donor.donor is None
    ]
    assert pairs
    for copy, donor in pairs:  # both went on from one checkpoint
        weights, moments, base, rate = seen[copy.seed]
        assert same(weights, seen[donor.seed][0]) and same(moments, seen[donor.seed][1]) and moments
        parent = result.pbt.path(copy.parent)[-1].hyper["lr"]
        assert base == copy.hyper["lr"] and base / parent in (pytest.approx(0.8), pytest.approx(1.2))
        assert rate == pytest.approx(base * _decay(4 * copy.step))  # the schedule goes on, from the new base


def test_copies_see_other_batches_than_their_donor():
    result = run_pbt(search(), make, step, evaluate, 4)
    pbt = result.pbt
    children = {}
    for parent, child, _ in pbt.lineage():
        children.setdefault(parent, []).append(child)
    twins = next(ids for ids in children.values() if len(ids) > 1)
    batches = []
    for i in twins:
        state, _ = replay_schedule(pbt.path(i), make, step, evaluate)
        batches.append(state["extra"]["batches"])
    assert batches[0][:4] == batches[1][:4] and batches[0][-4:] != batches[1][-4:]


def test_the_winners_path_replays_bit_for_bit_and_its_schedule_trains_a_new_model():
    result = run_pbt(search(), make, step, evaluate, 6)
    candidate, score, state = result.best
    again, scores = replay_schedule(result.pbt.path(candidate.id), make, step, evaluate)
    assert scores[-1] == score and same(again["module"], state["module"]) and same(again, state)
    rates = []

    def watched(training, hyper):
        rates.append(training.optimizer.param_groups[0]["initial_lr"])
        step(training, hyper)

    schedule = result.pbt.schedule()
    _, scores = replay_schedule(schedule, make, watched, evaluate, 8, seed=9)
    wanted = [next(h["lr"] for since, h in reversed(schedule) if since <= k) for k in range(8)]
    assert rates == wanted and len(scores) == 8
    with pytest.raises(ValueError, match="number of rounds"):
        replay_schedule(schedule, make, step, evaluate)


class Killed(Exception):
    pass


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("place", [30, 33])  # after round 5, and within the next one
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path, place, synchronous):
    straight = run_pbt(search(synchronous=synchronous), make, step, evaluate, 8)
    done = []

    def killer(candidate, score):
        done.append(candidate.id)
        if len(done) == place:
            raise Killed

    with pytest.raises(Killed):
        run_pbt(search(synchronous=synchronous), make, step, evaluate, 8, folder=tmp_path, report=killer)
    resumed = run_pbt(search(synchronous=synchronous), make, step, evaluate, 8, folder=tmp_path)
    assert resumed.pbt.events == straight.pbt.events
    assert same(resumed.best[2], straight.best[2]) and same(resumed.final[2], straight.final[2])
    assert len(list(tmp_path.glob("*.safetensors"))) <= 7  # what no parent, donor or best needs is gone


def test_more_rounds_later_are_as_all_at_once():
    once = run_pbt(search(), make, step, evaluate, 6)
    half = run_pbt(search(), make, step, evaluate, 3)
    assert half.pbt.generation == 3
    whole = run_pbt(half.pbt, make, step, evaluate, 6, folder=half.checkpoints)
    assert whole.pbt.events == once.pbt.events and same(whole.best[2], once.best[2])


def test_a_checkpoint_that_is_gone_is_named(tmp_path):
    def thief(candidate, score):
        for path in tmp_path.glob("candidate-*.safetensors"):
            path.unlink()

    with pytest.raises(LookupError, match=r"checkpoint of candidate \d+ is gone"):
        run_pbt(search(), make, step, evaluate, 3, folder=tmp_path, report=thief)


def test_an_explored_rate_that_the_optimisers_state_overwrote_is_an_error():
    with pytest.raises(HyperparameterLost, match="lr should be"):
        run_pbt(search(), make, step, evaluate, 4, apply=lambda training, hyper: None)


def test_a_script_that_puts_the_old_rate_back_while_training_is_found_out():
    def careless(training, hyper):
        step(training, hyper)
        for group in training.optimizer.param_groups:
            group["initial_lr"] = training.extra.setdefault("rate", group["initial_lr"])
        training.scheduler.base_lrs = [training.extra["rate"]]

    with pytest.raises(HyperparameterLost, match=r"after the step lr is .* again"):
        run_pbt(search(), make, careless, evaluate, 4)


def test_a_hyperparameter_that_nobody_reads_is_an_error():
    pbt = PBT({**SPACE, "learning_rate": LogUniform(1e-3, 1e-1)}, 2)
    with pytest.raises(HyperparameterLost, match="'learning_rate'"):
        run_pbt(pbt, make, step, evaluate, 1)


def test_a_diverged_member_is_replaced_even_when_its_score_looks_fine():
    def sick(training, hyper):
        step(training, hyper)
        if hyper["dropout"] == 0.25:
            with torch.no_grad():
                training.module[0].weight[0, 0] = math.nan

    start = [{"lr": 0.01, "dropout": 0.25}]
    pbt = PBT(SPACE, 4, start=start, seed=0)
    result = run_pbt(pbt, make, sick, lambda training: 1.0, 2)
    assert "module.0.weight" in result.failures[0]
    assert pbt.path(4)[-1].donor is not None and dict(pbt.events)[4] == 1.0


def test_when_all_diverge_it_says_so():
    with pytest.raises(EvaluationFailed, match="all 6"):
        run_pbt(search(), make, step, lambda training: math.nan, 2)


def plain_make(hyper, seed):
    return {"w": np.zeros(2), "lr": hyper["lr"]}


def plain_step(state, hyper):
    state["w"] += hyper["lr"] * (1 - state["w"]) + 1e-3 * np.random.standard_normal(2)  # noqa: NPY002
    state["layers"] = hyper["layers"]


def plain_save(state):
    return {"w": torch.from_numpy(state["w"])}


def plain_load(state, saved):
    state["w"] = saved["w"].numpy()  # in the very tensor it was given: the store's must not change


def plain_evaluate(state):
    return -float(np.square(1 - state["w"]).sum())


def test_any_script_will_do_and_global_draws_are_its_own():
    def run():
        pbt = PBT({"lr": LogUniform(1e-3, 1e-1), "layers": Int(1, 4)}, 5, seed=2)
        return run_pbt(pbt, plain_make, plain_step, plain_evaluate, 6, save=plain_save, load=plain_load)

    np.random.seed(1)  # noqa: NPY002
    first = run()
    assert run().pbt.events == first.pbt.events
    path = first.pbt.path(first.best[0].id)
    state, scores = replay_schedule(path, plain_make, plain_step, plain_evaluate, save=plain_save, load=plain_load)
    assert scores[-1] == first.best[1] and torch.equal(state["w"], first.best[2]["w"])


@pytest.mark.slow
def test_processes_give_the_same_bits_and_an_asynchronous_run_is_replayed():
    alone = run_pbt(search(), make, step, evaluate, 4)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        apart = run_pbt(search(), make, step, evaluate, 4, executor=pool)
        free = run_pbt(search(synchronous=False), make, step, evaluate, 4, executor=pool)
    assert apart.pbt.events == alone.pbt.events and same(apart.best[2], alone.best[2])
    order = [i for i, _ in free.pbt.events]
    again = run_pbt(search(synchronous=False), make, step, evaluate, 4, replay=order)
    assert again.pbt.events == free.pbt.events and same(again.best[2], free.best[2])
    with pytest.raises(ValueError, match="replayed order"):
        run_pbt(search(synchronous=False), make, step, evaluate, 4, replay=[23, *order])
