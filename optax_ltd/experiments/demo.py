"""The demo: three methods on one task that plain SGD cannot solve."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from optax_ltd.experiments import methods
from optax_ltd.experiments.figures import save_error_curves, save_gradient_flow
from optax_ltd.experiments.run import Run
from optax_ltd.experiments.training import Settings

METHODS = (methods.SGD, methods.CLIP, methods.CLIP_FLOW)


def run_demo(settings: Settings, output: Path, console: Console) -> bool:
    """Trains with every method, then shows a table and writes two pictures.

    Ctrl-C ends the training; the table then shows what came out until then.

    Args:
      settings: The task and the budget.
      output: Folder of the pictures, made if it is missing.
      console: Where progress and table go.

    Returns:
      Whether the demo came to its end.
    """
    output.mkdir(parents=True, exist_ok=True)
    console.print(_headline(settings))
    runs: list[Run] = []
    try:
        _train(settings, runs, console)
        console.print(results_table(runs))
        paths = output / "error_curves.png", output / "gradient_flow.png"
        save_error_curves(runs, paths[0])
        save_gradient_flow(runs[1:], paths[1])
    except KeyboardInterrupt:
        console.print("\nInterrupted. What came out until then:")
        console.print(results_table(runs))
        return False
    for path in paths:
        console.print(f"Wrote {path}", highlight=False, soft_wrap=True)
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


def _train(settings: Settings, runs: list[Run], console: Console) -> None:
    """Trains method after method, adding the runs to a list as they begin."""
    progress = Progress(
        TextColumn("{task.description:15}"),
        BarColumn(),
        TextColumn("{task.completed:>6,} updates"),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        console=console,
    )
    with progress:
        bars = [
            progress.add_task(m.name, total=settings.updates, start=False, status="")
            for m in METHODS
        ]
        for method, bar in zip(METHODS, bars, strict=True):
            progress.start_task(bar)
            progress.update(bar, status="compiling")
            run = Run(method, settings)
            runs.append(run)
            while not run.done:
                run.advance()
                _show(progress, bar, run)
            progress.stop_task(bar)


def _show(progress: Progress, bar: TaskID, run: Run) -> None:
    last = run.evaluations[-1]
    status = (
        f"loss {last.loss.mean():.3f}  error {last.error.mean():6.1%}  "
        f"{run.updates_per_second:,.0f} updates/s"
    )
    progress.update(bar, completed=last.update, status=status)


def results_table(runs: Sequence[Run]) -> Table:
    """What came out of runs, which may have been cut short."""
    table = Table("Method", title="Results", title_justify="left")
    for column in (
        "Solved",
        "Solved after",
        "Trained for",
        "Final error",
        "Non-finite",
    ):
        table.add_column(column, justify="right")
    for run in runs:
        if not run.evaluations:
            continue
        last = run.evaluations[-1]
        solved = [update for update in run.solved_at if update is not None]
        table.add_row(
            run.method.name,
            f"{len(solved)} of {run.settings.seeds} seeds",
            ", ".join(f"{update:,}" for update in sorted(solved)) or "–",
            f"{last.update:,}",
            ", ".join(f"{error:.1%}" for error in last.error),
            f"{last.nonfinite.sum():,}",
        )
    return table
