"""Measured constants from the benchmarks' results, and what follows from them for many births and many workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.markdown import table

BENCH = Path(__file__).resolve().parents[2] / "results" / "bench"
BIRTHS, WORKERS = 10**6, 10**3
ID_BITS = 64  # an id is the first 16 hexadecimal digits of the key
MODEL = 14e9  # bytes of a model of 7 thousand million parameters in bfloat16


def _read(name: str) -> dict[str, Any] | None:
    path = BENCH / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Measured on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; {versions}.\n"
    )


def section_birth_constants() -> str:
    """What a birth costs at each size of the record."""
    found = _read("births")
    if found is None:
        return "Not measured yet: `python bench/births.py` writes the figures.\n"
    rows = [
        [
            f"{int(size):,}",
            f"{row['ours_ms']:.2f} ms",
            f"{row['ours_processor_ms']:.2f} ms",
            f"{row['floor_ms']:.2f} ms",
            f"{row['mlflow_ms']:.2f} ms",
            f"{row['ours_open_cold_s']:.2f} s",
            f"{row['ours_open_warm_s'] * 1e3:.1f} ms",
            f"{row['mlflow_open_s']:.2f} s",
        ]
        for size, row in found["sizes"].items()
    ]
    peer = next(iter(found["sizes"].values()))["mlflow_version"]
    header = ("births", "a birth", "processor", "floor", f"MLflow {peer}", "open, no index", "open", "MLflow, open")
    return table(header, rows, right=range(len(header))) + "\n" + _machine(found)


def section_birth_implications() -> str:
    """10⁶ births, 10³ workers."""
    found = _read("births")
    if found is None:
        return "Not measured yet.\n"
    sizes = sorted((int(size), row) for size, row in found["sizes"].items())
    (small, before), (large, last) = sizes[-2:]
    cost = last["ours_ms"] / 1e3

    def extrapolated(key: str) -> float:
        slope = max(0.0, (last[key] - before[key]) / (large - small))
        return float(last[key] + slope * (BIRTHS - large))

    collision = BIRTHS**2 / 2 ** (ID_BITS + 1)
    rows = [
        ["recording 10⁶ births from one process", f"10⁶ × {cost * 1e3:.2f} ms", _time(BIRTHS * cost)],
        ["births that one process can record", f"1 / {cost * 1e3:.2f} ms", f"{1 / cost:,.0f} a second"],
        [
            "length of a birth above which 10³ workers wait for nothing",
            f"10³ × {cost * 1e3:.2f} ms",
            _time(WORKERS * cost),
        ],
        [
            "share of a one-minute birth that is recording",
            f"{cost * 1e3:.2f} ms / 60 s",
            f"{cost / 60:.5%}",
        ],
        [
            "journals (a line and the benchmark's weights of 1.1 kB, so less)",
            f"10⁶ × {last['bytes_of_a_birth']:,} B",
            f"≤ {BIRTHS * last['bytes_of_a_birth'] / 1e9:.1f} GB",
        ],
        ["files in each of the 256 folders of weights, nothing dropped", "10⁶ / 256", f"{BIRTHS / 256:,.0f}"],
        [
            "building the index from the journals",
            f"line through {small:,} and {large:,} births",
            _time(extrapolated("ours_open_cold_s")),
        ],
        ["opening with an index", "the same", _time(extrapolated("ours_open_warm_s"))],
        ["chance that any two of 10⁶ ids are equal", f"10¹² / 2{_raised(ID_BITS + 1)}", _small(collision)],
    ]
    return table(("question", "arithmetic", "answer"), rows, right=(2,))


def section_merge_constants() -> str:
    """Merging from disk to disk."""
    found = _read("merge_disk")
    if found is None:
        return "Not measured yet: `python bench/merge_disk.py` writes the figures.\n"
    size = found["bytes_per_checkpoint"]
    rows, notes = [], []
    for name, arms in found["measured"].items():
        ours, peer = arms["heredity"], arms["mergekit"]
        alone = ours["merge_alone_seconds"]["median"]
        rows.append(
            [
                name,
                f"{ours['seconds']['median']:.2f} s",
                f"{alone:.2f} s",
                f"{arms['floor_seconds']['median']:.2f} s",
                f"{peer['seconds']['median']:.2f} s",
                f"{ours['peak_mb']['median']:,.0f} MB",
                f"{peer['peak_mb']['median']:,.0f} MB",
            ]
        )
        notes.append(
            f"- {name}: {alone / (size / 1e9):.1f} s per GB of child, so about "
            f"{_time(alone / size * MODEL)} for a model of {MODEL / 1e9:.0f} GB "
            "if its parents are read as fast as here; they lay in the page cache, so a disk may take longer."
        )
    header = ("method", "heredity", "merge alone", "floor", "mergekit", "peak memory", "mergekit's")
    intro = f"Three checkpoints of {size / 1e9:.2f} GB, whole processes, medians.\n\n"
    lines = "\n".join(f"- {note}." for note in found.get("notes", []))
    tail = f"\nWhat follows:\n\n{chr(10).join(notes)}\n\nWhat to know about these figures:\n\n{lines}\n\n"
    same = "\n".join(_agreement(found.get(f"agreement_{dtype}", {}), dtype) for dtype in ("float32", "bfloat16"))
    agreed = f"\nHow far the two tools' outputs are apart; a step is one of bfloat16:\n\n{same}\n"
    return intro + table(header, rows, right=range(1, len(header))) + tail + agreed + _machine(found)


def _agreement(found: dict[str, Any], dtype: str) -> str:
    """Per configuration the largest difference and the share of entries beyond a step, of all and of those not tied.

    Tied are entries whose magnitude equals the threshold of a trim: which of them are kept is arbitrary in both tools.
    """
    rows = [
        [
            name.replace("_", " "),
            f"{row['largest_difference']:.1e}",
            f"{row['share_beyond_a_step']:.2%}",
            f"{row.get('share_beyond_a_step_untied', row['share_beyond_a_step']):.2%}",
        ]
        for name, row in found.items()
    ]
    header = (f"{dtype} configuration", "largest difference", "entries beyond a step", "of those not tied")
    return table(header, rows, right=(1, 2, 3)) if rows else ""


def section_other_benchmarks() -> str:
    """Ratios of benchmarks that this page says nothing else about."""
    parts = []
    for path in sorted(BENCH.glob("*.json")):
        if path.stem not in ("births", "merge_disk"):
            found = json.loads(path.read_text(encoding="utf-8"))
            rows = [[name, _plain(value)] for name, value in found.get("ratios", {}).items()]
            parts.append(
                f"### bench/{path.stem}.py\n\n{table(('ratio', 'measured'), rows, right=(1,))}\n{_machine(found)}"
            )
    return "\n".join(parts) or "There are no others yet.\n"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _small(number: float) -> str:
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa} · 10{_raised(int(exponent))}"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
