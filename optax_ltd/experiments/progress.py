"""Training before the user's eyes."""

import math
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from optax_ltd.experiments.run import Run
from optax_ltd.experiments.runner import Runner


class Bars:
    """A context with one progress bar for each of several runs."""

    def __init__(self, console: Console, titles: list[str], updates: int):
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:>6,}"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._bars = [
            self._progress.add_task(title, total=updates, start=False, status="")
            for title in titles
        ]

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def train(
        self,
        index: int,
        runner: Runner,
        after: Callable[[], None],
        seconds: float = math.inf,
    ) -> None:
        """Compiles a runner and trains to the end.

        Args:
          index: of its bar.
          runner: what to train.
          after: called after compiling and after every test; may raise.
          seconds: how long it may take; the test then reached is the last.
        """
        deadline = time.monotonic() + seconds
        bar, run = self._bars[index], runner.run
        self._progress.start_task(bar)
        self._progress.update(bar, completed=run.update, status="compiling")
        if not run.done:
            runner.compile()
            after()
        while not run.done:
            runner.advance()
            self._show(bar, run)
            after()
            if time.monotonic() > deadline:
                break
        self._progress.update(bar, total=run.update)  # Full, if it stopped early too.
        self._progress.stop_task(bar)

    def _show(self, bar: TaskID, run: Run) -> None:
        last = run.evaluations[-1]
        status = (
            f"loss {last.train_loss.mean():.3f}  error {last.error.mean():5.1%}  "
            f"{run.updates_per_second:,.0f}/s"
        )
        self._progress.update(bar, completed=last.update, status=status)
