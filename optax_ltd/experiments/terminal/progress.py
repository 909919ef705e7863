"""Training before the user's eyes."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner


class Bars:
    """A context with one progress bar for each of several runs."""

    def __init__(self, console: Console, titles: list[str]):
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[updates]:>6,}"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._bars = [
            self._progress.add_task(title, total=1, start=False, updates=0, status="")
            for title in titles
        ]

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def train(self, index: int, runner: Runner, after: Callable[[], None]) -> None:
        """Compiles a runner and trains to the end, or until its time is out.

        Args:
          index: of its bar.
          runner: what to train.
          after: called after compiling and after every test; may raise.
        """
        began = time.monotonic()
        bar, run = self._bars[index], runner.run
        self._progress.start_task(bar)
        self._progress.update(
            bar, completed=_spent(run, 0.0), updates=run.update, status="compiling"
        )
        if not run.done:
            runner.compile()
            after()
        while not run.done:
            runner.advance()
            spent = _spent(run, time.monotonic() - began)
            self._show(bar, run, spent)
            after()
            if spent >= 1:
                break
        self._progress.update(bar, completed=1)  # Full, if it stopped early too.
        self._progress.stop_task(bar)

    def _show(self, bar: TaskID, run: Run, spent: float) -> None:
        last = run.evaluations[-1]
        status = (
            f"loss {last.train_loss.mean():.3f}  error {last.error.mean():5.1%}  "
            f"{run.updates_per_second:,.0f}/s"
        )
        self._progress.update(bar, completed=spent, updates=last.update, status=status)


def _spent(run: Run, seconds: float) -> float:
    """The share of its budget that a run has spent, of updates or of time."""
    of_time = seconds / run.time_limit if seconds < run.time_limit else 1.0
    return max(run.update / run.config.updates, of_time)
