"""Writes what a benchmark saw as JSON records, and reads ratios of times from them.

Each round of timings gives one ratio to the contestant that is the measure. The median
and the quartiles of these ratios are what a table shows.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import optax_ltd.experiments.training.environment as environments
from benchmarks.timing import Contestant
from optax_ltd.experiments.training.environment import source

Entry = Mapping[str, Any]  # a record, as it was read
RESULTS = Path(__file__).parent / "results"
# What decides a measurement; records and pages, which benchmarks write, do not.
SOURCES = ("optax_ltd", "benchmarks", ":!benchmarks/results", ":!*.md")


def quartiles(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles.

    Args:
      values: [n].

    Returns:
      A dictionary with `median`, `lower` and `upper`.
    """
    lower, median, upper = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "lower": float(lower), "upper": float(upper)}


def record(
    benchmark: str,
    case: Mapping[str, Any],
    contestants: Mapping[str, Contestant],
    seconds: Mapping[str, np.ndarray],
    *,
    measure: str,
    **extra: Any,
) -> dict[str, Any]:
    """Puts together the record of one case.

    Args:
      benchmark: name of the benchmark.
      case: what distinguishes this case: sizes, seed, choices.
      contestants: by name.
      seconds: what `timing.interleave` returned.
      measure: name of the contestant that counts as 1.
      **extra: anything else worth keeping.

    Returns:
      A dictionary that JSON can hold.
    """
    return {
        "benchmark": benchmark,
        "case": dict(case),
        "environment": environment(),
        "measure": measure,
        "rounds": len(seconds[measure]),
        "contestants": {
            name: {
                "compile_seconds": contestant.compile_seconds,
                "seconds": quartiles(seconds[name]),
                "ratio": quartiles(seconds[name] / seconds[measure]),
                "all_seconds": [round(float(value), 9) for value in seconds[name]],
            }
            for name, contestant in contestants.items()
        },
        **extra,
    }


def seconds(entry: Mapping[str, Any], contestant: str) -> np.ndarray:
    """All timings of one contestant of a record.

    Args:
      entry: the record.
      contestant: its name.

    Returns:
      Seconds, [rounds].
    """
    return np.asarray(entry["contestants"][contestant]["all_seconds"])


def ratios(
    entry: Mapping[str, Any], contestant: str, measure: str
) -> np.ndarray | None:
    """What one contestant took as a multiple of another in the same round.

    Args:
      entry: the record.
      contestant: whose time is divided.
      measure: by whose.

    Returns:
      Ratios, [rounds]; None if the record lacks one of the two.
    """
    if not {contestant, measure} <= entry["contestants"].keys():
        return None
    return seconds(entry, contestant) / seconds(entry, measure)


def fastest(entry: Mapping[str, Any], contestants: Sequence[str]) -> str:
    """The contestant of the least median time.

    Args:
      entry: the record.
      contestants: some of which may not be in the record.

    Returns:
      Its name; the first if the record has none of them.
    """
    there = [name for name in contestants if name in entry["contestants"]]
    median = lambda name: float(np.median(seconds(entry, name)))
    return min(there, key=median, default=contestants[0])


def write(entry: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Writes a record to a file named after its benchmark, case and platform.

    Args:
      entry: what `record` returned.
      folder: where to.

    Returns:
      The file's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [entry["benchmark"], *entry["case"].values()]
    parts.append(entry["environment"]["platform"])
    path = folder / ("-".join(str(part) for part in parts) + ".json")
    path.write_text(json.dumps(entry, indent=2) + "\n")
    return path


def write_and_show(entry: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Writes a record and prints its ratios.

    Args:
      entry: what `record` returned.
      folder: where to.
    """
    print(write(entry, folder))
    for name, result in entry["contestants"].items():
        ratio = result["ratio"]
        print(
            f"  {name:41} {1e3 * result['seconds']['median']:8.1f} ms  "
            f"ratio {ratio['median']:.2f} "
            f"({ratio['lower']:.2f}-{ratio['upper']:.2f})  "
            f"compiled in {result['compile_seconds']:.1f} s",
            flush=True,
        )


def environment() -> dict[str, Any]:
    """Commit, versions and device."""
    return {**environments.environment("torch"), **_LOADED}


_LOADED = source(*SOURCES)  # before the checkout moves on
