"""A published result to make again: which runs it takes, and what they show."""

import dataclasses
from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from optax_ltd.experiments.config import Config
from optax_ltd.experiments.run import Run

Runs = Mapping[str, Run]


@dataclasses.dataclass(frozen=True)
class Study:
    """What `optax-ltd reproduce` does under one name.

    Attributes:
      title: What is made again, and whose it is.
      configs: From a budget of updates, the runs by name.
      figure: The picture of what came out.
      table: The same as a table in Markdown, with confidence intervals and what was
        published.
      remarks: Where the protocol differs from the published one, in Markdown.
      reach: Lengths at which the trained networks are tested, beside their own.
    """

    title: str
    configs: Callable[[int], dict[str, Config]]
    figure: Callable[[Runs], Figure]
    table: Callable[[Runs], str]
    remarks: str
    reach: tuple[int, ...] = ()
