"""The demo: three methods on one task that plain SGD cannot solve."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from optax_ltd.experiments import figures, methods
from optax_ltd.experiments.interrupt import deferred_interrupt
from optax_ltd.experiments.run import Run
from optax_ltd.experiments.runner import Runner
from optax_ltd.experiments.training import Settings

METHODS = (methods.SGD, methods.CLIP, methods.CLIP_FLOW)


def run_demo(settings: Settings, output: Path, console: Console) -> bool:
    """Trains with every method, then shows a table and writes two pictures.

    Ctrl-C ends the training at the next test, or where compiling ends; the table then
    shows what came out until then.

    Args:
      settings: The task and the budget.
      output: Folder of the pictures.
      console: Where progress and table go.

    Returns:
      Whether the demo came to its end.
    """
    console.print(_headline(settings))
    runners: list[Runner] = []
    paths = output / "error_curves.png", output / "gradient_flow.png"
    try:
        with deferred_interrupt() as check_interrupt:
            _train(settings, runners, console, check_interrupt)
            runs = [runner.run for runner in runners]
            console.print(results_table(runs))
            figures.error_curves(runs).savefig(paths[0])
            # Without plain SGD: what is compared is the clip with and without Ω.
            figures.gradient_flow(runners[1:]).savefig(paths[1])
    except KeyboardInterrupt:
        console.print("\nInterrupted. What came out until then:")
        console.print(results_table([runner.run for runner in runners]))
        return False
    console.print(
        f"Wrote {paths[0]}\nWrote {paths[1]}, of seed {figures.FLOW_SEED}",
        highlight=False,
        soft_wrap=True,
    )
    return True


def _headline(settings: Settings) -> str:
    task = settings.task
    return (
        f"[bold]{task.name}[/], {task.length} steps; "
        f"{settings.hidden_size} tanh units, seeds 0 to {settings.seeds - 1} together, "
        f"at most {settings.updates:,} updates per method, all with the same initial "
        f"weights and sequences.\nSolved: fewer than {task.solved_below:.0%} of "
        f"{task.test_size:,} fresh sequences wrong (chance {task.chance_error:.0%})."
    )


def _train(
    settings: Settings,
    runners: list[Runner],
    console: Console,
    check_interrupt: Callable[[], None],
) -> None:
    """Trains method after method, adding the runners to a list as they begin."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:>6,}"),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        console=console,
        expand=True,
    )
    with progress:
        bars = [
            progress.add_task(m.name, total=settings.updates, start=False, status="")
            for m in METHODS
        ]
        for method, bar in zip(METHODS, bars, strict=True):
            progress.start_task(bar)
            progress.update(bar, status="compiling")
            runner = Runner(method, settings)
            runners.append(runner)
            run = runner.run
            check_interrupt()
            while not run.done:
                runner.advance()
                check_interrupt()
                _show(progress, bar, run)
            progress.update(bar, total=run.update)  # Full, if it stopped early too.
            progress.stop_task(bar)


def _show(progress: Progress, bar: TaskID, run: Run) -> None:
    last = run.evaluations[-1]
    status = (
        f"loss {last.loss.mean():.3f}  error {last.error.mean():5.1%}  "
        f"{run.updates_per_second:,.0f}/s"
    )
    progress.update(bar, completed=last.update, status=status)


def results_table(runs: Sequence[Run]) -> Table:
    """What came out of runs, which may have been cut short; one number per seed."""
    table = Table(
        "Method",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="One number per seed. A method stops once all its seeds have solved.",
        caption_justify="left",
    )
    for column in ("Updates", "Solved", "Solved after", "Final error, %", "Inf/NaN"):
        table.add_column(column, justify="right")
    for run in runs:
        if not run.evaluations:
            continue
        last, solved_at = run.evaluations[-1], run.solved_at
        solved = len(solved_at) - solved_at.count(None)
        table.add_row(
            run.method.name,
            f"{last.update:,}",
            f"{solved} of {run.settings.seeds}",
            " ".join("–" if update is None else f"{update:,}" for update in solved_at),
            " ".join(f"{100 * error:.1f}" for error in last.error),
            " ".join(f"{count:,}" for count in last.nonfinite),
        )
    return table
