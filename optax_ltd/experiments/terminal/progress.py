"""Progress bars of runs, and a line above them whenever sequences grow."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from optax_ltd.experiments.parts.growth import stages
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
        self._grown: dict[int, int] = {}  # stages that have been told of, by the bar

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
        run = runner.run
        self._progress.start_task(bar)
        self._progress.update(
            bar,
            completed=1 if runner.over else runner.spent,
            updates=run.update,
            status=_told(run) if runner.has_tested else "compiling",
        )
        # What a run that is brought back had grown to before is no news.
        if self._grown.setdefault(index, run.stage) < run.stage and not runner.over:
            self._grown[index] = run.stage
            self._progress.print(_growth(run), highlight=False)
        if runner.over:
            self._progress.stop_task(bar)


def _growth(run: Run) -> str:
    """That sequences grow, and from when on."""
    now = stages(run.config)[run.stage].lengths[1]
    seeds = "every seed has" if run.config.seeds > 1 else "it has"
    return (
        f"After {run.update:,} updates {seeds} once been wrong in less than "
        f"{100 * run.config.grow_below:g} % at {run.longest:,} steps. Sequences grow "
        f"to {now:,}; at first more answers may be wrong than by chance."
    )


def _told(run: Run) -> str:
    last = run.evaluations[-1]
    grown = f"length {run.longest:,}  " if run.config.grow_from else ""
    return (
        f"{grown}loss {last.train_loss.mean():.3f}  error {last.error.mean():5.1%}  "
        f"{run.updates_per_second:,.0f}/s"
    )
