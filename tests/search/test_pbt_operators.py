"""Population based training in a lab: the lineage holds the schedule, and the run is the driver's run."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import heredity as hd
from heredity.errors import BirthFailed
from heredity.search.fields import LogUniform, Uniform
from heredity.search.operators import (
    Founder,
    TrainFor,
    evolve_population,
    recorded_hyper,
    recorded_schedule,
    training_of,
)
from heredity.search.pbt import PBT
from heredity.search.pbt_driver import replay_schedule, run_pbt
from heredity.search.training_state import Training

X = torch.linspace(-1, 1, 64)[:, None]
Y = torch.sin(3 * X)
SPACE = {"lr": LogUniform(1e-3, 1e-1), "dropout": Uniform(0.0, 0.5)}


@dataclass(frozen=True)
class Sine:
    """A tiny regression whose loss is drawn with dropout."""

    width: int = 8
    sick: float = -1.0  # members with a rate above it diverge

    def make(self, hyper, seed):
        module = nn.Sequential(
            nn.Linear(1, self.width), nn.Tanh(), nn.Dropout(hyper["dropout"]), nn.Linear(self.width, 1)
        )
        optimizer = torch.optim.AdamW(module.parameters(), lr=hyper["lr"])
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
        return Training(module, optimizer, scheduler, torch.Generator().manual_seed(seed))

    def step(self, training, hyper):
        training.module.train()
        rows = torch.randint(64, (16,), generator=training.generator)
        training.optimizer.zero_grad()
        (training.module(X[rows]) - Y[rows]).square().mean().backward()
        training.optimizer.step()
        training.scheduler.step()
        if 0 < self.sick < hyper["lr"]:
            with torch.no_grad():
                training.module[0].weight.fill_(math.nan)

    def evaluate(self, training):
        training.module.eval()
        with torch.no_grad():
            return -float((training.module(X) - Y).square().mean())


def search(**settings):
    return PBT(SPACE, 5, **{"seed": 4, **settings})


def rows(lab):
    return sorted((m.id, m.weights_sha256, m.kind) for m in lab.models())


@pytest.mark.parametrize("executor", ["inline", pytest.param("processes:2", marks=pytest.mark.slow)])
def test_births_are_the_drivers_run_bit_for_bit(tmp_path, executor):
    script = Sine()
    plain = run_pbt(search(), script.make, script.step, script.evaluate, 6)
    with hd.Lab(tmp_path / "lab", executor=executor) as lab:
        pbt = search()
        result = evolve_population(lab, pbt, script, 6)
        assert pbt.events == plain.pbt.events and result.value == plain.best[1]
        state = training_of(result.best, script)
        assert all(torch.equal(p, plain.best[2]["module"][n]) for n, p in state.module.state_dict().items())
        ours = {model.kind for model in lab.models()}
        assert ours == {"init", "train", "exploit"}


def test_the_lineage_tells_the_schedule_and_the_donor(tmp_path):
    script = Sine()
    with hd.Lab(tmp_path / "lab") as lab:
        pbt = search()
        best = evolve_population(lab, pbt, script, 6).best
        assert recorded_schedule(best) == pbt.schedule() and len(pbt.schedule()) > 1
        assert [recorded_hyper(m) for m in best.path()] == [task.hyper for task in pbt.path(pbt.best[0].id)]
        for model in lab.models():
            if model.kind == "exploit":
                (parent,) = model.parents
                assert parent.labels["member"] != model.labels["member"]
        _, scores = replay_schedule(recorded_schedule(best), script.make, script.step, script.evaluate, 6)
        assert len(scores) == 6
        expected = script.evaluate(training_of(best, script))
        assert expected == best.value("score")
        with torch.no_grad():
            assert -float((best.load()(X) - Y).square().mean()) == pytest.approx(expected)


class Stop(Exception):
    pass


def test_stopped_in_the_middle_it_goes_on_to_the_same_lab(tmp_path):
    with hd.Lab(tmp_path / "straight") as lab:
        evolve_population(lab, search(), Sine(), 7)
        straight = rows(lab)

    def stop(result):
        if result.told == 25:  # after round 5
            raise Stop

    with hd.Lab(tmp_path / "stopped") as lab:
        with pytest.raises(Stop):
            evolve_population(lab, search(), Sine(), 7, report=stop)
        assert len(lab) == 25
    with hd.Lab(tmp_path / "stopped") as lab:
        evolve_population(lab, search(), Sine(), 7)
        assert rows(lab) == straight


def test_a_diverged_round_is_a_failed_birth_and_its_member_copies(tmp_path):
    pbt = search()
    rates = sorted(c.value.hyper["lr"] for c in pbt.ask())
    with hd.Lab(tmp_path / "lab") as lab:
        pbt = search()
        result = evolve_population(lab, pbt, Sine(sick=(rates[-2] + rates[-1]) / 2), 3)
        (bad,) = [i for i, reason in result.failures.items() if i < 5]
        assert "module.0.weight" in result.failures[bad]
        task = pbt.path(5 + bad)[-1]
        assert task.donor is not None and lab[result.births[5 + bad]].kind == "exploit"


def test_only_hyperparameters_copied_is_an_exploration_of_ones_own_weights(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab:
        evolve_population(lab, search(inherit="hyperparameters"), Sine(), 4)
        explored = [m for m in lab.models() if m.kind == "explore"]
        assert explored and all(m.parents[0].labels["member"] == m.labels["member"] for m in explored)


def test_dropped_weights_are_rebuilt(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab:
        best = evolve_population(lab, search(), Sine(), 4).best
        before = {name: tensor.clone() for name, tensor in best.weights().items()}
        lab.drop(best.path())
        assert not best.has_weights
        assert all(torch.equal(tensor, before[name]) for name, tensor in best.weights().items())


def test_without_a_barrier_the_recorded_order_is_gone_again(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab:
        first = search(synchronous=False)
        evolve_population(lab, first, Sine(), 4)
        again = search(synchronous=False)
        evolve_population(lab, again, Sine(), 4)
        assert again.events == first.events and len(first.events) == 20


def test_a_hyperparameter_that_is_not_read_fails_the_birth(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab, pytest.raises(BirthFailed, match="'momentum'"):
        lab.derive(Founder(Sine(), {"lr": 0.1, "dropout": 0.0, "momentum": 0.9}))


def test_steps_are_calls_of_the_scripts_step(tmp_path):
    hyper = {"lr": 0.01, "dropout": 0.0}
    with hd.Lab(tmp_path / "lab") as lab:
        start = lab.derive(Founder(Sine(), hyper, steps=2), seed=1)
        end = lab.derive(TrainFor(Sine(), hyper, steps=3), start, seed=2)
        state = training_of(end, Sine())
        assert state.scheduler.last_epoch == 5 and next(iter(state.optimizer.state.values()))["step"] == 5
