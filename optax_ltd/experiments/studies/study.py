"""A published result to reproduce: which runs it takes, and what they show."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import budget as budgets
from optax_ltd.experiments.studies import markdown
from optax_ltd.experiments.studies.budget import Budget
from optax_ltd.experiments.training.observer import Watch
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.sweep import kept, sweep

Runs = Mapping[str, Run]


@dataclasses.dataclass(frozen=True)
class Study:
    """A result that training runs make.

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
      reach: By the name of a run, lengths at which its trained networks are tested,
        beside their own.
      took: What the runs on record took, in a sentence.
    """

    title: str
    configs: Callable[[int], dict[str, Config]]
    figure: Callable[[Runs], Figure]
    alt: str
    finding: Callable[[Runs], str]
    table: Callable[[Runs], str]
    remarks: str
    protocol: tuple[tuple[str, str, str], ...] = ()
    reach: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    took: str = ""

    def budget(self, text: str | None) -> Budget:
        """What all runs, or each of them, may cost.

        Args:
          text: what the user typed, if anything.

        Raises:
          InputError: if it is no budget.
        """
        return budgets.parse_budget(text) if text else budgets.DEFAULT

    def outlook(self, budget: Budget) -> str:
        """What all runs may take, and what they took before, for those who wait.

        Args:
          budget: of the runs.
        """
        ahead = budgets.ahead(self.configs(budget.updates).values(), budget)
        return f"{ahead} {self.took}".rstrip()

    def make(self, folder: Path, budget: Budget, watch: Watch) -> Figure:
        """Makes the runs that a folder does not hold yet, and draws all of them.

        Args:
          folder: where each run's record is written when the run ends.
          budget: of the runs; it decides their configs.
          watch: of the runs.

        Raises:
          InputError: if the folder holds runs of another budget of updates; of
            another time it keeps those that were made.
        """
        configs = self.configs(budget.updates)
        made = sweep(configs, folder, watch, seconds=budget.seconds, lengths=self.reach)
        return self.figure(dict(made))

    def runs(self, folder: Path) -> dict[str, Run]:
        """The runs that a folder holds, of whatever budget.

        Args:
          folder: that `make` wrote to.
        """
        return kept(self.configs(1), folder)

    def progress(self, folder: Path) -> tuple[int, int]:
        """How many runs have been made, and how many there are.

        Args:
          folder: that `make` wrote to.
        """
        return len(self.runs(folder)), len(self.configs(1))

    def page(self, folder: Path) -> str:
        """Title, finding, tables and remarks, in Markdown.

        Args:
          folder: that `make` wrote to.
        """
        return self.describe(self.runs(folder))

    def describe(self, runs: Runs) -> str:
        """The same of runs by name.

        Args:
          runs: one at least.
        """
        budget, count = budgets.told(runs.values()), len(self.configs(1))
        parts = [f"## {self.title}", self.finding(runs), self.table(runs)]
        if self.protocol:
            rows = [[x.format(budget=budget) for x in row] for row in self.protocol]
            parts.append(markdown.table(["", "here", "published"], rows))
        told = [f"Budget: {budget}."]
        if len(runs) < count:
            told.append(f"{len(runs)} of the {count} runs have been made.")
        told += [*_verdict(list(runs.values())), self.remarks]
        return "\n\n".join([*parts, " ".join(told)]) + "\n"


def _verdict(runs: Sequence[Run]) -> list[str]:
    """What counts as solved, where anything does."""
    run = runs[0]
    if not run.solved_below:
        return []
    every = sorted({run.config.test_every for run in runs})
    told = " or ".join(f"{updates:,}" for updates in every)
    return [
        f"Solved: one of the tests, every {told} updates, found "
        f"fewer than {100 * run.solved_below:g} % of {run.config.test_size:,} fresh "
        "sequences wrong; in brackets the 95 % interval of Clopper and Pearson. A seed "
        "trains on until all have solved the task or the budget is spent, and may lose "
        "it again: *at the end* is the last test."
    ]
