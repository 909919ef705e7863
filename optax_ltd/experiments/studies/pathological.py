"""All tasks of Pascanu et al., by clip and Ω."""

import dataclasses
from typing import Any, Literal

from matplotlib.figure import Figure

from optax_ltd import tasks
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.studies import cells, figures, markdown
from optax_ltd.experiments.studies.study import Runs, Study

LENGTHS = (50, 100)
_ALL = "100 %, T up to 200"
# By task what the paper reports, of 5 runs.
PUBLISHED = {
    "temporal_order": _ALL,
    "temporal_order_3bit": _ALL,
    "addition": _ALL,
    "multiplication": _ALL,
    "random_permutation": "2 of 5, T up to 200",
    "memorization_5bit": "100 % at T = 50, 100, 150, 200",
    "memorization_20bit": "100 % at T = 50, 100, 150, 200",
}
NUMBERS = ("addition", "multiplication")
_SHORTEST = 10  # below it, most of these tasks are not defined
# What learns numbers: SGD without momentum leaves them at chance for longer, and less
# momentum was slower on other seeds.
_MOMENTUM: dict[str, Any] = {
    "optimizer": "nesterov",
    "learning_rate": 0.003,
    "momentum": 0.98,
    "flow_weight": 0.5,
}


def _configs(updates: int) -> dict[str, Config]:
    rows = [(task, "squared" if task in NUMBERS else None, "") for task in PUBLISHED]
    rows += [(task, "absolute", "-absolute") for task in NUMBERS]
    return {
        f"{task}-{length}{ending}": dataclasses.replace(
            _config(task, length, updates), criterion=criterion
        )
        for length in LENGTHS
        for task, criterion, ending in rows
    }


def _config(task: str, length: int, updates: int) -> Config:
    one_length = task.startswith("memorization")  # as in the paper
    config = Config(
        task=task,
        length=length if one_length else (_SHORTEST, length),
        test_length=length,
        method="clip-norm+flow",
        init="orthogonal",
        updates=updates,
        test_every=1000,
        seeds=5,
    )
    return dataclasses.replace(config, **_MOMENTUM) if task in NUMBERS else config


def _figure(runs: Runs) -> Figure:
    return figures.success_rates(
        (_name(run.config), run.title + _ending(run.config), run)
        for run in runs.values()
    )


def _name(config: Config) -> str:
    return make_test_task(config).name


def _ending(config: Config) -> str:
    return ", absolute" if config.criterion == "absolute" else ""


def _table(runs: Runs) -> str:
    return markdown.table(
        [
            "task",
            "T",
            "method",
            "updates",
            "solved",
            "after",
            "wrong at the end, %",
            "paper",
        ],
        [
            [
                _name(run.config) + _ending(run.config),
                str(run.config.test_length),
                run.title,
                f"{run.update:,}",
                cells.solved(run),
                cells.solved_after(run),
                cells.wrong_at_the_end(run),
                PUBLISHED[run.config.task],
            ]
            for run in runs.values()
        ],
    )


def _finding(runs: Runs) -> str:
    by_all = [run for run in runs.values() if None not in run.solved_at]
    fewer = [
        f"{_name(run.config)}{_ending(run.config)} at T = {run.config.test_length} "
        f"({run.num_solved})"
        for run in runs.values()
        if None in run.solved_at
    ]
    told = f" Fewer than 5 seeds solved {', '.join(fewer)}." if fewer else ""
    return f"All 5 seeds solved {len(by_all)} of {len(runs)} tasks and lengths.{told}"


def _chance(criterion: Literal["squared", "absolute"]) -> str:
    """The least share of addition and multiplication that a constant gets wrong."""
    made = (tasks.addition, tasks.multiplication)
    shares = [make(length=50, criterion=criterion).chance_error for make in made]
    return " and ".join(f"{share:.0%}".replace("%", " %") for share in shares)


PATHOLOGICAL = Study(
    title="The tasks of Pascanu, Mikolov and Bengio (2013)",
    configs=_configs,
    figure=_figure,
    alt=(
        "Share of five seeds that solved a task, with its confidence interval, "
        "against the length of the sequences: a panel each task, a colour each "
        "method."
    ),
    finding=_finding,
    table=_table,
    protocol=(
        ("budget", "{budget}", "not reported"),
        (
            "lengths",
            "10 to T, tested at T; T alone for memorisation",
            "one network for all up to 200; T alone for memorisation",
        ),
        (
            "optimiser",
            "SGD, learning rate .05; for numbers Nesterov, .003 and momentum .98",
            "SGD, .01 in the authors' code",
        ),
        ("weight of Ω", "2; for numbers .5", "2 in the authors' code"),
        (
            "initial weights",
            "orthogonal",
            "basic tanh for temporal order; smart tanh in the authors' code",
        ),
    ),
    remarks=(
        "Clip at 1, Ω in the form of the authors' code, 50 tanh units. SGD without "
        "momentum left addition and multiplication at chance for longer, and Nesterov "
        "with .01 and .9 was slower on other seeds. An answer to these is wrong if its "
        "squared error exceeds .04, as in the authors' code; a "
        f"constant is then wrong in {_chance('squared')} of all cases. *Absolute*: it "
        "is wrong if the error itself exceeds .04, as in Hochreiter and Schmidhuber "
        "(1997) and the papers on Hessian-free; a constant is in "
        f"{_chance('absolute')}."
    ),
)
