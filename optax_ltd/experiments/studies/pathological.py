"""All tasks of Pascanu et al., by clip and Ω."""

import dataclasses
from typing import Any

from matplotlib.figure import Figure

from optax_ltd import plots
from optax_ltd.experiments import figures, markdown
from optax_ltd.experiments.config import Config
from optax_ltd.experiments.study import Runs, Study

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
# What learns numbers; SGD without momentum leaves them at chance for longer.
_MOMENTUM: dict[str, Any] = {
    "optimizer": "nesterov",
    "learning_rate": 0.01,
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
    panels: dict[str, dict[str, list[plots.Rate]]] = {}
    for run in runs.values():
        methods = panels.setdefault(_name(run.config), {})
        method = run.title + _ending(run.config)
        methods.setdefault(method, []).append(figures.success_rate(run))
    return plots.success_rates(panels)


def _name(config: Config) -> str:
    return config.task.replace("_", " ")


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
                markdown.solved(run),
                markdown.solved_after(run),
                markdown.wrong_at_the_end(run),
                PUBLISHED[run.config.task],
            ]
            for run in runs.values()
        ],
    )


PATHOLOGICAL = Study(
    title="The tasks of Pascanu, Mikolov and Bengio (2013)",
    configs=_configs,
    figure=_figure,
    table=_table,
    remarks=(
        "All with a clip at 1 and Ω in the form of the authors' code; SGD has learning "
        "rate .05 and Ω of weight 2, Nesterov, without which numbers were learned "
        "later, learning rate .01, momentum .9 and weight .5. One network learns one "
        "length of memorisation, as in the paper; others learn from 10 to T steps and "
        "are tested at T, where the paper trains one for all lengths up to 200. "
        "Weights begin orthogonal; the paper's are basic tanh for temporal order, and "
        "its code has SGD with learning rate .01 and sparse weights unless told "
        "otherwise. Addition and multiplication count an answer as wrong whose squared "
        "error exceeds .04, as that code does: a constant answer is then wrong in 36 % "
        "and 23 %. *Absolute* are networks of their own, whose answers are wrong where "
        "the error itself exceeds .04, as others ask: a constant is in 85 % and 72 %."
    ),
)
