"""Makes a published result again: runs, picture, table."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from optax_ltd.experiments import markdown
from optax_ltd.experiments.cliff import cliff, cliff_figure, record_table
from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.json_files import write_json
from optax_ltd.experiments.run import Run
from optax_ltd.experiments.studies import STUDIES
from optax_ltd.experiments.sweep import sweep

CLIFF = "cliff"
NAMES = (CLIFF, *STUDIES)
_CLIFF_TITLE = "The cliff: figure 10.17 of Goodfellow, Bengio and Courville (2016)"
NO_LIMIT = 2**30  # as many as a config may have


class Budget(NamedTuple):
    """What a result may cost.

    Attributes:
      updates: of each run.
      seconds: for all runs together.
    """

    updates: int
    seconds: float = math.inf


def parse_budget(text: str) -> Budget:
    """Updates such as 20000, or minutes such as 30min.

    Args:
      text: what the user typed.

    Raises:
      InputError: if it is neither.
    """
    found = re.fullmatch(r"([1-9]\d*)(min)?", text)
    if found is None:
        raise InputError(
            "`budget` must be updates of each run, such as 20000, or minutes for all, "
            f"such as 30min; got {text!r}",
            "budget",
        )
    number = int(found[1])
    return Budget(NO_LIMIT, 60 * number) if found[2] else Budget(number)


def reproduce(name: str, folder: Path, budget: Budget, console: Console) -> str:
    """Makes the runs that a folder does not hold yet, and shows what all of them say.

    The folder gets a record of each run, a picture and a table.

    Args:
      name: of the result.
      folder: where to.
      budget: of the runs; it decides their configs.
      console: where progress goes.

    Returns:
      The table, in Markdown.

    Raises:
      InputError: if the folder holds runs of another budget of updates; of another
        time it keeps those that were made.
      KeyboardInterrupt: on Ctrl-C; the run in flight is lost.
    """
    if name == CLIFF:
        return _cliff(folder)
    study = STUDIES[name]
    configs = study.configs(budget.updates)
    runs: dict[str, Run] = {}
    made = sweep(configs, folder, console, seconds=budget.seconds, lengths=study.reach)
    for run_name, run in made:
        runs[run_name] = run
    study.figure(runs).savefig(folder / f"{name}.png")
    table = page_of(name, runs)
    (folder / f"{name}.md").write_text(table)
    return table


def page_of(name: str, runs: Mapping[str, Run]) -> str:
    """Title, table and remarks of a result, in Markdown.

    Args:
      name: of the result.
      runs: by name.
    """
    study = STUDIES[name]
    count = len(study.configs(1))
    made = f"{len(runs)} of the {count} runs have been made. "
    budget = _budget(runs)
    parts = [f"## {study.title}", study.finding(runs), study.table(runs)]
    if study.protocol:
        rows = [[cell.format(budget=budget) for cell in row] for row in study.protocol]
        parts.append(markdown.table(["", "here", "published"], rows))
    told = f"Budget: {budget}. {made if len(runs) < count else ''}{_verdict(runs)}"
    return "\n\n".join([*parts, told + study.remarks]) + "\n"


def _verdict(runs: Mapping[str, Run]) -> str:
    """What counts as solved, where anything does."""
    run = next(iter(runs.values()))
    if not run.solved_below:
        return ""
    return (
        f"Solved: one of the tests, every {run.config.test_every:,} updates, found "
        f"fewer than {100 * run.solved_below:g} % of {run.config.test_size:,} fresh "
        "sequences wrong; in brackets the 95 % interval of Clopper and Pearson. A seed "
        "trains on until all have solved the task or the budget is spent, and may lose "
        "it again: *at the end* is the last test. "
    )


def _budget(runs: Mapping[str, Run]) -> str:
    minutes = [
        run.time_limit / 60 for run in runs.values() if run.time_limit < math.inf
    ]
    if minutes:
        made = [run.update for run in runs.values()]
        return (
            f"{min(minutes):.3g} to {max(minutes):.3g} minutes a run, in which they "
            f"made {min(made):,} to {max(made):,} updates"
        )
    given = sorted({run.config.updates for run in runs.values()})
    return " or ".join(f"{updates:,}" for updates in given) + " updates a run"


def cliff_page(record: Mapping[str, Any]) -> str:
    """Title and table of the cliff, in Markdown.

    Args:
      record: what is kept of it.
    """
    return f"## {_CLIFF_TITLE}\n\n{record_table(record)}\n"


def _cliff(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    found = cliff()
    write_json(folder / "cliff.json", found.record())
    cliff_figure(found).savefig(folder / "cliff.png")
    table = cliff_page(found.record())
    (folder / "cliff.md").write_text(table)
    return table
