"""The command line: ``optax-ltd``."""

from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.console import Console

    from optax_ltd import tasks
    from optax_ltd.experiments.demo import run_demo
    from optax_ltd.experiments.training import Settings
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    if missing not in {"matplotlib", "rich", "typer"}:
        raise
    raise SystemExit(
        f"optax-ltd needs {missing}, which comes with an extra; in a checkout:\n"
        "  pip install '.[experiments]'"
    ) from error

_INTERRUPTED = 130  # what a shell reports for Ctrl-C

app = typer.Typer(
    help="Learn what depends on the distant past.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _commands() -> None:
    """Keeps `demo` a subcommand while it is the only one."""


@app.command()
def demo(
    length: Annotated[int, typer.Option(min=10, help="Steps in a sequence.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, help="Networks per method.")] = 3,
    updates: Annotated[int, typer.Option(min=1, help="Budget per method.")] = 10_000,
    output: Annotated[
        Path,
        typer.Option(
            file_okay=False, writable=True, help="Folder for the two pictures."
        ),
    ] = Path("demo"),
) -> None:
    """Train on temporal order: SGD, SGD + clip, SGD + clip + Ω.

    Which of two symbols came first, long ago? Shows live progress, then a table, and
    writes two pictures: the errors, and the error signal along time.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the folder {str(output)!r}: {error.strerror}"
        raise typer.BadParameter(message, param_hint="--output") from error
    settings = Settings(tasks.temporal_order(length), seeds=seeds, updates=updates)
    if not run_demo(settings, output, Console()):
        raise typer.Exit(_INTERRUPTED)


def main() -> None:
    """Runs the command line."""
    app()
