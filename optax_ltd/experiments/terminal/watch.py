"""Runs and other work as the terminal shows them, one after the other."""

import contextlib
from collections.abc import Iterator

from rich.console import Console

from optax_ltd.experiments.terminal.interrupt import deferred_interrupt
from optax_ltd.experiments.terminal.progress import Bars
from optax_ltd.experiments.training.observer import Observer


class TerminalWatch:
    """Shows a bar for each run, and stops it where Ctrl-C was pressed."""

    def __init__(self, console: Console):
        self._console = console

    @contextlib.contextmanager
    def run(self, heading: str, title: str) -> Iterator[Observer]:
        """A context in which one runner is made, trained and tested.

        Args:
          heading: printed above its bar.
          title: of its bar.
        """
        self._console.print(heading, highlight=False)
        with deferred_interrupt() as check, Bars(self._console, [title]) as bars:
            yield bars.observer(0, check)

    def work(self, told: str) -> contextlib.AbstractContextManager[object]:
        """A context in which something else is done, for as long as it is told.

        Args:
          told: what.
        """
        return self._console.status(told)
