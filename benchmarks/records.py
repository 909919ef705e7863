"""Times contestants side by side and writes what was seen as JSON records.

Timings of one process drift with the machine, so contestants take turns and each
round gives one ratio to the contestant that is the measure. The median and the
quartiles of these ratios are what a table shows.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import optax_ltd.experiments.training.environment as environments
from optax_ltd.experiments.training.environment import source

RESULTS = Path(__file__).parent / "results"
# What decides a measurement; records and pages, which benchmarks write, do not.
SOURCES = ("optax_ltd", "benchmarks", ":!benchmarks/results", ":!*.md")


class Contestant(NamedTuple):
    """Something to time.

    Attributes:
      step: takes the carry and returns the next one; called over and over. It may
        donate the carry.
      carry: the first carry.
      compile_seconds: what making `step` took.
    """

    step: Callable[[Any], Any]
    carry: Any
    compile_seconds: float = 0.0


def compiled(
    function: Callable[..., Any], carry: Any, *constants: Any, donate: bool = True
) -> Contestant:
    """Compiles ``carry = function(carry, *constants)`` and times the compilation.

    Args:
      function: a function of arrays.
      carry: its first argument, which it returns anew.
      *constants: its other arguments.
      donate: whether the carry's buffers are donated.

    Returns:
      The contestant.
    """
    jitted = jax.jit(function, donate_argnums=(0,) if donate else ())
    start = time.perf_counter()
    executable = jitted.lower(carry, *constants).compile()
    seconds = time.perf_counter() - start
    return Contestant(lambda carry: executable(carry, *constants), carry, seconds)


def interleave(
    contestants: Mapping[str, Contestant], *, rounds: int = 30, warmup: int = 3
) -> dict[str, np.ndarray]:
    """Times one step of each contestant in turn, round after round.

    Args:
      contestants: by name.
      rounds: how many timings of each to keep.
      warmup: how many rounds to throw away first.

    Returns:
      Seconds, [rounds], by name.
    """
    carries = {name: contestant.carry for name, contestant in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    shuffled = np.random.default_rng(0)
    for i in range(warmup + rounds):
        # Nobody always runs in the wake of the same neighbour.
        for name in (names[j] for j in shuffled.permutation(len(names))):
            jax.block_until_ready(carries[name])
            start = time.perf_counter()
            carries[name] = contestants[name].step(carries[name])
            jax.block_until_ready(carries[name])
            if i >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.asarray(values) for name, values in seconds.items()}


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
      seconds: what `interleave` returned.
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


def write_and_show(entry: Mapping[str, Any]) -> None:
    """Writes a record and prints its ratios.

    Args:
      entry: what `record` returned.
    """
    print(write(entry))
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
