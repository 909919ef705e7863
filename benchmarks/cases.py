"""The command of a benchmark that times contestants in one setting after another."""

import argparse
import gc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from benchmarks import records

Setting = TypeVar("Setting")


def measure_each(
    settings: Sequence[Setting],
    run: Callable[[Setting, int], dict[str, Any]],
    *,
    rounds: int,
    about: str | None,
) -> None:
    """Measures the settings, prints the ratios and writes the records.

    Args:
      settings: all of them; the command line may choose some by number.
      run: makes the record of a setting from so many timings of each contestant.
      rounds: how many timings, unless the command line says otherwise.
      about: what ``--help`` says of the command.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--only", type=int, nargs="*", help="which of the settings")
    options = parser.parse_args()
    for i in options.only or range(len(settings)):
        records.write_and_show(run(settings[i], options.rounds))
        gc.collect()  # what the contestants of one setting held
