"""What `optax-ltd reproduce` asks of a published result."""

from pathlib import Path
from typing import Protocol

from matplotlib.figure import Figure

from optax_ltd.experiments.studies.budget import Budget
from optax_ltd.experiments.training.observer import Watch


class Result(Protocol):
    """A published result that can be made again."""

    @property
    def title(self) -> str:
        """What is reproduced, and whose it is."""
        ...

    @property
    def alt(self) -> str:
        """What its picture shows, for those who do not see it."""
        ...

    def budget(self, text: str | None) -> Budget:
        """What it may cost.

        Args:
          text: what the user typed, if anything.

        Raises:
          InputError: if it cannot have that budget.
        """
        ...

    def outlook(self, budget: Budget) -> str:
        """What it may take, for those who wait.

        Args:
          budget: that `budget` returned.
        """
        ...

    def make(self, folder: Path, budget: Budget, watch: Watch) -> Figure:
        """Makes what a folder does not hold yet, and draws all of it.

        Args:
          folder: where the records go.
          budget: that `budget` returned.
          watch: of what is made.

        Raises:
          InputError: if the folder holds what was made with another budget.
        """
        ...

    def progress(self, folder: Path) -> tuple[int, int]:
        """How many runs have been made, and how many there are.

        Args:
          folder: that `make` wrote to.
        """
        ...

    def page(self, folder: Path) -> str:
        """Title, finding and tables, in Markdown.

        Args:
          folder: that `make` wrote to.
        """
        ...
