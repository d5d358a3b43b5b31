"""The MLflow side of bench/births.py: the facts of a birth logged as a run in its SQLite store.

Numbers of births to log are read from standard input, a line each; times are printed as JSON.

Usage: python births_mlflow.py FOLDER SIZE FACTS.json   |   python births_mlflow.py --open FOLDER
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import time
import uuid
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

logging.disable(logging.WARNING)
EXPERIMENT = "births"


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def log_birth(client: MlflowClient, experiment: str, facts: dict[str, dict[str, str]], parent: str, seed: int) -> str:
    """One birth: create the run, log its facts in one batch, end it. Three calls are the fewest that the API allows."""
    run = client.create_run(experiment)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric("norm", 1.0, int(time.time() * 1000), 0)],
        params=[*(Param(*item) for item in facts["params"].items()), Param("seed", str(seed))],
        tags=[*(RunTag(*item) for item in facts["tags"].items()), RunTag("parent", parent)],
    )
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def fill(folder: Path, run: str, size: int) -> None:
    """Copy a run's rows until the store holds `size` runs, in chains of 100 by the tag `parent`."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.row_factory = sqlite3.Row
        count = database.execute("SELECT count(*) FROM runs").fetchone()[0]
        ids = [uuid.uuid4().hex for _ in range(size - count)]
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            if "run_uuid" not in columns:
                continue
            marks = ", ".join("?" * len(columns))
            for row in database.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run,)).fetchall():
                values = dict(row)

                def filled(
                    number: int, values: dict[str, object] = values, columns: list[str] = columns
                ) -> list[object]:
                    own = {**values, "run_uuid": ids[number]}
                    if values.get("key") == "parent":
                        own["value"] = ids[number - 1] if number % 100 else ""
                    if "artifact_uri" in values:
                        own["artifact_uri"] = str(values["artifact_uri"]).replace(run, ids[number])
                        own["start_time"] = int(str(values["start_time"])) + number - size
                    return [own[column] for column in columns]

                database.executemany(f"INSERT INTO {table} VALUES ({marks})", map(filled, range(len(ids))))
    database.close()


def opening(folder: Path) -> dict[str, float]:
    """Seconds until the newest run's line of descent is known."""
    begun = time.perf_counter()
    client = client_of(folder)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], max_results=1, order_by=["attributes.start_time DESC"])[0]
    depth = 1
    while run.data.tags.get("parent"):
        run = client.get_run(run.data.tags["parent"])
        depth += 1
    return {"seconds": time.perf_counter() - begun, "depth": depth}


def main() -> None:
    if sys.argv[1] == "--open":
        print(json.dumps(opening(Path(sys.argv[2]))))
        return
    folder, size = Path(sys.argv[1]), int(sys.argv[2])
    facts = json.loads(Path(sys.argv[3]).read_text())
    client = client_of(folder)
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    parent = log_birth(client, experiment, facts, "", 0)
    fill(folder, parent, size)
    for seed in range(20):
        parent = log_birth(client, experiment, facts, parent, seed)
    print(json.dumps({"version": mlflow.__version__}), flush=True)
    for line in sys.stdin:  # how many births to log now
        times = []
        for seed in range(int(line)):
            begun = time.perf_counter()
            parent = log_birth(client, experiment, facts, parent, seed)
            times.append(time.perf_counter() - begun)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
