"""The command of a benchmark that measures one setting after another."""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from benchmarks import records

Setting = TypeVar("Setting")
TINY_ROUNDS = 2
NO_ACCELERATOR = (
    "JAX sees no accelerator here, only a CPU. `make bench-gpu` needs a GPU or a TPU, "
    "and a JAX that is built for it; `make bench` takes the records of a CPU."
)


class Command(NamedTuple):
    """What the command line asks for.

    Attributes:
      options: as they were parsed.
      settings: what to measure.
      folder: where the records go.
    """

    options: argparse.Namespace
    settings: Sequence[Any]
    folder: Path

    def in_time(self) -> Iterator[Any]:
        """Yields settings, as long as there is time for one like the longest so far."""
        start, longest = time.monotonic(), 0.0
        for i, setting in enumerate(self.settings):
            begun = time.monotonic()
            if begun - start + longest > self.options.seconds:
                print(f"no time is left for {', '.join(map(str, self.settings[i:]))}")
                return
            yield setting
            gc.collect()  # what the contestants of one setting held
            longest = max(longest, time.monotonic() - begun)


def parser(about: str | None) -> argparse.ArgumentParser:
    """A parser of the options that say on which machine what is measured.

    Args:
      about: what ``--help`` says of the command.

    Returns:
      The parser, to which a program may add its own options.
    """
    made = argparse.ArgumentParser(description=about)
    machine = made.add_mutually_exclusive_group()
    machine.add_argument(
        "--accelerator", action="store_true", help="what is measured on a GPU or TPU"
    )
    machine.add_argument(
        "--tiny",
        type=Path,
        metavar="FOLDER",
        help="the same without any size, on whatever there is; records go to FOLDER",
    )
    made.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin nothing beyond"
    )
    return made


def command(
    parser: argparse.ArgumentParser,
    settings: Sequence[Setting],
    accelerator: Sequence[Setting],
    tiny: Sequence[Setting],
) -> Command:
    """Reads the command line; ends the process where it asks for what is not there.

    Args:
      parser: of the options.
      settings: what is measured, unless it says otherwise.
      accelerator: what is measured on an accelerator, the dearest last.
      tiny: what is measured in a test.

    Returns:
      The command.
    """
    options = parser.parse_args()
    if options.tiny:
        return Command(options, tiny, options.tiny)
    if not options.accelerator:
        return Command(options, settings, records.RESULTS)
    if jax.default_backend() == "cpu":
        parser.error(NO_ACCELERATOR)
    return Command(options, accelerator, records.RESULTS)


def measure_each(
    settings: Sequence[Setting],
    run: Callable[[Setting, int], dict[str, Any]],
    *,
    rounds: int,
    about: str | None,
    accelerator: Sequence[Setting] = (),
    tiny: Sequence[Setting] = (),
) -> None:
    """Measures the settings, prints the ratios and writes the records.

    Args:
      settings: all of them; the command line may choose some by number.
      run: makes the record of a setting from so many timings of each contestant.
      rounds: how many timings, unless the command line says otherwise.
      about: what ``--help`` says of the command.
      accelerator: what is measured on an accelerator, the dearest last.
      tiny: what is measured in a test.
    """
    made = parser(about)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--only", type=int, nargs="*", help="which of the settings")
    asked = command(made, settings, accelerator, tiny)
    options = asked.options
    if options.only:
        asked = asked._replace(settings=[asked.settings[i] for i in options.only])
    rounds, failed = TINY_ROUNDS if options.tiny else options.rounds, False
    for setting in asked.in_time():
        try:
            records.write_and_show(run(setting, rounds), asked.folder)
        except jax.errors.JaxRuntimeError as error:  # A setting too large for a GPU.
            print(f"{setting} was left out: {str(error).splitlines()[0]}")
            failed = True
    if failed:
        sys.exit(1)
