"""What a reproduced result may cost."""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.config import LARGEST, Config
from optax_ltd.experiments.training.run import Run


class Budget(NamedTuple):
    """What a result may cost.

    Attributes:
      updates: of a run; by what they cost some runs have a share of them, or more.
      seconds: for all runs together.
    """

    updates: int
    seconds: float = math.inf


DEFAULT = Budget(10_000)


def parse_budget(text: str) -> Budget:
    """Updates such as 20000, or minutes such as 30min.

    Args:
      text: what the user typed.

    Raises:
      InputError: if it is neither.
    """
    found = re.fullmatch(r"([1-9]\d*)(min)?", text)
    if found is None:
        told = "updates of each run, such as 20000, or minutes for all, such as 30min"
        raise refusal("budget", told, repr(text))
    number = int(found[1])
    return Budget(LARGEST, 60 * number) if found[2] else Budget(number)


def ahead(configs: Collection[Config], budget: Budget) -> str:
    """What runs may cost before they are made, in a sentence.

    Args:
      configs: of all runs.
      budget: that they were made from.
    """
    runs = f"{len(configs)} runs" if len(configs) > 1 else "One run"
    if budget.seconds < math.inf:
        return f"{runs}, in {budget.seconds / 60:.0f}min and on to the next test."
    return f"{runs} of at most {_either(config.updates for config in configs)} updates."


def told(runs: Iterable[Run]) -> str:
    """The budget that runs had, in words.

    Args:
      runs: with updates alone, or with a time too.
    """
    runs = list(runs)
    seconds = [run.time_limit for run in runs if run.time_limit < math.inf]
    if len(seconds) == len(runs):
        made = _span([f"{update:,}" for update in sorted(run.update for run in runs)])
        limits = _span([_duration(limit) for limit in sorted(seconds)])
        return f"{limits} a run, and on to its next test: {made} updates"
    free = [run.config.updates for run in runs if run.time_limit == math.inf]
    words = f"{_either(free)} updates a run"
    ended = sum(run.time_limit < math.inf and not run.done for run in runs)
    return (
        f"{words}, {ended} of {len(runs)} ended sooner by the clock" if ended else words
    )


def _either(updates: Iterable[int]) -> str:
    return " or ".join(f"{number:,}" for number in sorted(set(updates)))


def _duration(seconds: float) -> str:
    """Seconds as people say them: with a number between 1 and a few hundred."""
    if seconds >= 60:
        return f"{seconds / 60:.3g} minutes"
    return f"{seconds:.0f} seconds" if seconds >= 2 else f"{seconds:.1g} s"


def _span(ascending: Sequence[str]) -> str:
    """The first and the last of words, once if they are the same, as is a unit."""
    first, last = ascending[0], ascending[-1]
    if first == last:
        return last
    number, _, unit = first.partition(" ")
    return f"{number if last.endswith(f' {unit}') else first} to {last}"
