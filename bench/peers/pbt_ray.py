"""Ray Tune's population based training of the same function: prints one line of JSON.

Ray's class interface with `reuse_actors`, so that no process is started for a copy, and a checkpoint per round, as its
scheduler needs. `ray.init` is not timed.

Usage: python bench/peers/pbt_ray.py MEMBERS ROUNDS SLOTS SEED CPUS SYNCH

CPUS is what an actor asks for: below 1 more actors live at once than there are slots. SYNCH is 1 for a barrier.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import ray
import torch
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

sys.path.insert(0, str(Path(__file__).parent))
import pbt_training as script


class Member(tune.Trainable):
    """One member."""

    def setup(self, config: dict[str, Any]) -> None:
        self.hyper = config
        self.training = script.make(config, 0)

    def step(self) -> dict[str, float]:
        script.step(self.training, self.hyper)
        return {"score": script.evaluate(self.training)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        state = {"module": self.training.module.state_dict(), "optimizer": self.training.optimizer.state_dict()}
        torch.save(state, Path(checkpoint_dir) / "state.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        state = torch.load(Path(checkpoint_dir) / "state.pt")
        self.training.module.load_state_dict(state["module"])
        self.training.optimizer.load_state_dict(state["optimizer"])
        for group in self.training.optimizer.param_groups:
            group["lr"] = self.hyper["lr"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.hyper = new_config
        self.training = script.make(new_config, 0)
        return True


def main() -> None:
    """Run once."""
    members, rounds, slots, seed = map(int, sys.argv[1:5])
    cpus, barrier = float(sys.argv[5]), sys.argv[6] == "1"
    random.seed(seed)  # Ray's scheduler draws from the global generator
    here = str(Path(__file__).parent)
    ray.init(
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}},
    )
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="score",
        mode="max",
        perturbation_interval=1,
        hyperparam_mutations={"lr": tune.loguniform(script.LOW, script.HIGH)},
        quantile_fraction=0.25,
        resample_probability=0.0,
        synch=barrier,
    )
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(Member, {"cpu": cpus}),
            param_space={"lr": tune.loguniform(script.LOW, script.HIGH)},
            tune_config=tune.TuneConfig(scheduler=scheduler, num_samples=members, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                stop={"training_iteration": rounds},
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            ),
        )
        begun = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - begun
        best = results.get_best_result("score", "max").metrics["score"]
        told = sum(int(result.metrics["training_iteration"]) for result in results)
    ray.shutdown()
    print(json.dumps({"seconds": seconds, "rounds": told, "best": best, "ray": ray.__version__}))


if __name__ == "__main__":
    main()
