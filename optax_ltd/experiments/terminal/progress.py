"""Progress bars of runs."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from optax_ltd.experiments.training.observer import Observer
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

    def observer(self, index: int, check_interrupt: Callable[[], None]) -> Observer:
        """What shows a runner and then stops it where Ctrl-C was pressed.

        Args:
          index: of its bar.
          check_interrupt: of `deferred_interrupt`.
        """

        def observer(runner: Runner) -> None:
            self.show(index, runner)
            check_interrupt()

        return observer

    def show(self, index: int, runner: Runner) -> None:
        """Shows how far a runner has come; full, if it stopped early too.

        Args:
          index: of its bar.
          runner: that has just been made, compiled or tested.
        """
        bar = self._bars[index]
        if self._progress.tasks[index].stop_time is not None:
            return
        self._progress.start_task(bar)
        self._progress.update(
            bar,
            completed=1 if runner.over else runner.spent,
            updates=runner.run.update,
            status=_told(runner.run) if runner.has_tested else "compiling",
        )
        if runner.over:
            self._progress.stop_task(bar)


def _told(run: Run) -> str:
    last = run.evaluations[-1]
    grown = f"length {run.longest:,}  " if run.config.grow_from else ""
    return (
        f"{grown}loss {last.train_loss.mean():.3f}  error {last.error.mean():5.1%}  "
        f"{run.updates_per_second:,.0f}/s"
    )
