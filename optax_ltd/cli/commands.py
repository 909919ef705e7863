"""The commands."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown

import optax_ltd as ltd
from optax_ltd.cli.options import parse_lengths, takes_config
from optax_ltd.cli.refusals import refusals, whole, writing
from optax_ltd.cli.resuming import (
    begin_folder,
    check_resumed,
    how_to_go_on,
    saved_values,
)
from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.choices import choose
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.parts.task_table import TASKS
from optax_ltd.experiments.parts.unused import refuse_unused
from optax_ltd.experiments.studies.budget import DEFAULT
from optax_ltd.experiments.studies.published import RESULTS
from optax_ltd.experiments.studies.published import reproduce as run_reproduce
from optax_ltd.experiments.terminal.demo import DEMO, run_demo
from optax_ltd.experiments.terminal.headline import headline
from optax_ltd.experiments.terminal.interrupt import deferred_interrupt
from optax_ltd.experiments.terminal.results_table import (
    reach_table,
    results_table,
    sweep_table,
)
from optax_ltd.experiments.terminal.train import train as run_train
from optax_ltd.experiments.terminal.watch import TerminalWatch
from optax_ltd.experiments.training.devices import make_mesh
from optax_ltd.experiments.training.evaluate import evaluate as run_evaluate
from optax_ltd.experiments.training.json_files import json_text, read_json, write_json
from optax_ltd.experiments.training.sweep import read_sweep
from optax_ltd.experiments.training.sweep import sweep as run_sweep

_INTERRUPTED = 130  # what a shell reports for Ctrl-C

_Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of a table, progress apart.")
]
_Folder = typer.Option(file_okay=False, writable=True, help="Folder for what it makes.")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(ltd.__version__)
        raise typer.Exit


@app.callback()
def common(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Learn what depends on the distant past."""


@app.command()
def demo(
    length: Annotated[
        int, typer.Option(help="Steps in a sequence.", **whole("--length"))
    ] = 50,
    seeds: Annotated[
        int, typer.Option(help="Networks per method.", **whole("--seeds"))
    ] = 3,
    updates: Annotated[
        int, typer.Option(help="Updates of each method at most.", **whole("--updates"))
    ] = 10_000,
    output: Annotated[Path, _Folder] = Path("demo"),
) -> None:
    """Train on temporal order: SGD, SGD + clip, SGD + clip + Ω.

    Which of two symbols came first, long ago? Shows live progress, then a table, and
    writes two pictures: the errors, and the error signal along time.
    """
    with refusals(("length", "seeds", "updates")):
        config = Config(length=length, seeds=seeds, updates=updates, **DEMO)
        make_setup(config)  # judges it
    _make_folder(output)
    if not run_demo(config, output, Console()):
        raise typer.Exit(_INTERRUPTED)


@app.command()
@takes_config
def train(
    given: dict[str, Any],
    task: Annotated[
        str | None, typer.Argument(help=", ".join(TASKS), show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="File of options; what is given here wins.")
    ] = None,
    save_config: Annotated[
        Path | None, typer.Option(help="File to write all options to.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="New folder to save the run in, after every test."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in the folder of --checkpoint; --updates may give "
            "it a larger budget.",
        ),
    ] = False,
    device_mesh: Annotated[
        str | None,
        typer.Option(help="Devices for the seeds x devices for the batch: 2x4."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Train networks on a task and test them as they learn.

    The task is named here, or in the file of --config. All seeds are trained together,
    in one compiled program that makes its own data. Training ends when every seed has
    solved the task, or with the budget. The network with which a seed first solved it
    is kept.
    """
    given |= {} if task is None else {"task": task}
    with refusals({*given, "device_mesh", "checkpoint"}, ["task"]):
        before = saved_values(checkpoint, config) if resume else _file_values(config)
        if "task" not in before | given:
            raise refusal("task", f"one of {', '.join(TASKS)}", "none")
        chosen = Config.from_dict(before | given)
        setup = make_setup(chosen)
        refuse_unused(chosen, given)
        if resume and checkpoint:
            check_resumed(checkpoint, before, chosen)
        mesh = make_mesh(device_mesh, chosen) if device_mesh else None
    if save_config:
        with writing("--save-config", save_config):
            write_json(save_config, chosen.to_dict())
    if checkpoint:
        with refusals(("checkpoint",)), writing("--checkpoint", checkpoint):
            begin_folder(checkpoint, chosen, resume=resume)
    console = Console(stderr=as_json)
    console.print(headline(setup))
    with refusals(("checkpoint",)):
        runner, ended = run_train(setup, console, mesh=mesh, folder=checkpoint)
    if as_json:
        typer.echo(json_text(runner.run.record()))
    elif runner.run.evaluations:
        Console().print(results_table([runner.run]))
    if told := how_to_go_on(runner.run, checkpoint, ended=ended):
        typer.echo(told, err=True)
    if not ended:
        raise typer.Exit(_INTERRUPTED)


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder that train saved to.")],
    lengths: Annotated[
        str, typer.Option(help="Lengths to test at, such as 50,200,1000,5000.")
    ],
    sequences: Annotated[
        int,
        typer.Option(
            help="Fresh sequences at each length.", **whole("--sequences", at_least=1)
        ),
    ] = 10_000,
    as_json: _Json = False,
) -> None:
    """Test trained networks at other lengths than those they learned.

    A seed that has solved its task is tested as it first did, any other as it stands.
    """
    with refusals(["lengths"], ["checkpoint"]), deferred_interrupt() as check_interrupt:
        reaches = run_evaluate(
            checkpoint,
            parse_lengths(lengths),
            sequences,
            observer=lambda _: check_interrupt(),
        )
    if as_json:
        typer.echo(json_text([reach.to_dict() for reach in reaches]))
    else:
        Console().print(reach_table(reaches))


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="File with the fields base and grid.")],
    output: Annotated[Path, _Folder] = Path("sweep"),
) -> None:
    """Make all runs of a grid, and write a record of each as it ends.

    Started again it goes on where it stopped; a run in flight is
    saved at the first test after each minute, and at Ctrl-C.
    """
    with refusals():
        configs = read_sweep(config)
    _make_folder(output)
    command = ["sweep", str(config), "--output", str(output)]
    with _interruptible(command), refusals():
        runs = dict(run_sweep(configs, output, TerminalWatch(Console())))
    Console().print(sweep_table(runs))


@app.command()
def reproduce(
    name: Annotated[
        str | None, typer.Argument(help=", ".join(RESULTS), show_default=False)
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Updates of each run, of which runs of the search of recipe get a "
            "quarter, those of Hessian-free a hundredth and those of Nesterov five "
            "times as many; or minutes for all runs, such as 30min, of which one is "
            "made at least. Not for cliff. "
            f"Default: {DEFAULT.updates:,}.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for records, picture and table. Default: NAME.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Reproduce a published result: a picture, a table and a record of each run.

    Started again with the same budget it goes on where it stopped. A budget in minutes
    is shared by the runs that are missing; those for which no time is left are made
    when it is started again.
    """
    with refusals(["budget"], ["name"]):
        if name is None:
            raise refusal("name", f"one of {', '.join(RESULTS)}", "none")
        given = choose("name", name, RESULTS).budget(budget)
    folder = output or Path(name)
    _make_folder(folder)
    command = ["reproduce", name]
    command += ["--budget", budget] if budget else []
    command += ["--output", str(output)] if output else []
    typer.echo(RESULTS[name].outlook(given), err=True)
    with _interruptible(command), refusals():
        table = run_reproduce(name, folder, given, TerminalWatch(Console()))
    Console().print(Markdown(table))
    written = f"Wrote {folder / name}.png, the table beside it, and every record"
    Console().print(written, highlight=False, soft_wrap=True)
    made, all_ = RESULTS[name].progress(folder)
    if made < all_:
        told = (
            f"The time is out with {made} of {all_} runs made. Go on with the others:"
        )
        typer.echo(f"{told}\n  {_line(command)}", err=True)


@contextmanager
def _interruptible(command: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        told = "Interrupted. The same command goes on from what was saved:"
        typer.echo(f"{told}\n  {_line(command)}", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _line(command: Sequence[str]) -> str:
    return shlex.join(["optax-ltd", *command])


def _make_folder(folder: Path) -> None:
    with writing("--output", folder):
        folder.mkdir(parents=True, exist_ok=True)


def _file_values(config: Path | None) -> dict[str, Any]:
    return read_json(config) if config else {}
