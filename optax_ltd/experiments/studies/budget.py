"""What a reproduced result may cost."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.training.run import Run

_NO_LIMIT = 2**30  # as many as a config may have


class Budget(NamedTuple):
    """What a result may cost.

    Attributes:
      updates: of each run.
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
    return Budget(_NO_LIMIT, 60 * number) if found[2] else Budget(number)


def told(runs: Iterable[Run]) -> str:
    """The budget that runs had, in words.

    Args:
      runs: all with updates alone, or all with a time too.
    """
    runs = list(runs)
    minutes = [run.time_limit / 60 for run in runs if run.time_limit < math.inf]
    if minutes:
        made = [run.update for run in runs]
        return (
            f"{min(minutes):.3g} to {max(minutes):.3g} minutes a run, in which they "
            f"made {min(made):,} to {max(made):,} updates"
        )
    given = sorted({run.config.updates for run in runs})
    return " or ".join(f"{updates:,}" for updates in given) + " updates a run"
