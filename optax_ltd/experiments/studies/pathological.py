"""All tasks of Pascanu et al. by one method: clip and Ω."""

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


def _configs(updates: int) -> dict[str, Config]:
    rows = [(task, "squared", "") for task in PUBLISHED]
    rows += [(task, "absolute", "-absolute") for task in NUMBERS]
    return {
        f"{task}-{length}{ending}": Config(
            task=task,
            criterion=criterion,
            length=(_SHORTEST, length),
            test_length=length,
            method="clip-norm+flow",
            init="orthogonal",
            updates=updates,
            test_every=1000,
            seeds=5,
        )
        for length in LENGTHS
        for task, criterion, ending in rows
    }


def _figure(runs: Runs) -> Figure:
    panels: dict[str, dict[str, list[plots.Rate]]] = {}
    for run in runs.values():
        methods = panels.setdefault(_name(run.config), {})
        method = "SGD + clip + Ω" + _ending(run.config)
        methods.setdefault(method, []).append(figures.success_rate(run))
    return plots.success_rates(panels)


def _name(config: Config) -> str:
    return config.task.replace("_", " ")


def _ending(config: Config) -> str:
    return ", absolute" if config.criterion == "absolute" else ""


def _table(runs: Runs) -> str:
    return markdown.table(
        ["task", "T", "updates", "solved", "after", "wrong at the end, %", "paper"],
        [
            [
                _name(run.config) + _ending(run.config),
                str(run.config.test_length),
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
        "One method for all: SGD with learning rate .05, clip at 1 and Ω with weight "
        "2, in the form of the authors' code. Networks learn from sequences of 10 to T "
        "steps and are tested at T; the paper trains one network for all lengths up to "
        "200, or one a length for memorisation. Weights begin orthogonal; the paper's "
        "are basic tanh for temporal order, and its code has learning rate .01 and "
        "sparse weights unless told otherwise. Addition and multiplication count an "
        "answer as wrong whose squared error exceeds .04, as that code does: a "
        "constant answer is then wrong in 36 % and 23 %. *Absolute* are networks whose "
        "answers count as wrong where the error itself exceeds .04, as others ask."
    ),
)
