"""A published result to reproduce: which runs it takes, and what they show."""

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
      title: What is reproduced, and whose it is.
      configs: From a budget of updates, the runs by name.
      figure: The picture of what came out.
      alt: What that picture shows, for those who do not see it.
      finding: What came out in a few sentences, and where it differs from what was
        published.
      table: The same as a table in Markdown, with confidence intervals.
      protocol: How it was done here and in the publication, a row a difference: what,
        here, there. ``{budget}`` stands for the budget of the runs.
      remarks: What else a reader of the table must know, in Markdown.
      reach: Lengths at which the trained networks are tested, beside their own.
    """

    title: str
    configs: Callable[[int], dict[str, Config]]
    figure: Callable[[Runs], Figure]
    alt: str
    finding: Callable[[Runs], str]
    table: Callable[[Runs], str]
    remarks: str
    protocol: tuple[tuple[str, str, str], ...] = ()
    reach: tuple[int, ...] = ()
