"""One model for all lengths: train at 50 to 200 steps, test up to 5,000."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.studies import figures, markdown
from optax_ltd.experiments.studies.study import Runs, Study
from optax_ltd.experiments.training.run import Run

LENGTHS = (50, 100, 150, 200, 250, 500, 1000, 2000, 3000, 5000)
_SEEDS = 5
# By what a name ends in: the length of the tests, of one of which no answer is wrong.
_TESTED = {"": None, "-at-1000": 1000}


def _configs(updates: int) -> dict[str, Config]:
    """A run a seed and kind of test: each ends when it makes no error."""
    return {
        f"{seed}{ending}": Config(
            length=(50, 200),
            test_length=test_length,
            solved_below=1e-4,
            init="smart_tanh",
            flow_slopes="held",
            learning_rate=0.01,
            updates=updates,
            test_every=1000,
            seeds=1,
            first_seed=seed,
        )
        for ending, test_length in _TESTED.items()
        for seed in range(_SEEDS)
    }


def _title(run: Run) -> str:
    seed, tested = f"seed {run.config.first_seed}", run.config.test_length
    return seed if tested is None else f"{seed}, tested at {tested:,}"


def _figure(runs: Runs) -> Figure:
    task = make_test_task(next(iter(runs.values())).config)
    return figures.error_curves(task, {_title(run): run for run in runs.values()})


def _table(runs: Runs) -> str:
    rows = [
        ["no error in 10,000 after", "–", *map(markdown.solved_after, runs.values())],
        ["minutes", "–", *map(markdown.minutes, runs.values())],
    ]
    rows += [
        [
            f"wrong at T = {length:,}, %",
            "0",
            *(f"{100 * run.reach[length][0]:.3g}" for run in runs.values()),
        ]
        for length in LENGTHS
    ]
    return markdown.table(["", "paper", *map(_title, runs.values())], rows)


def _finding(runs: Runs) -> str:
    told = [
        _came(
            [run for run in runs.values() if run.config.test_length == test_length],
            "of 50 to 200 steps" if test_length is None else f"of {test_length:,}",
        )
        for test_length in _TESTED.values()
    ]
    return f"{' '.join(told)} The paper reports none for each of its 5."


def _came(runs: Sequence[Run], tested: str) -> str:
    """How many came to make no error in tests, and how many of them hold farthest."""
    solved = [run for run in runs if run.num_solved]
    if not solved:
        return f"No network came to make no error in 10,000 sequences {tested}."
    last = max(at for run in solved for at in run.solved_at if at is not None)
    farthest = LENGTHS[-1]
    hold = sum(not run.reach[farthest][0] for run in solved)
    return (
        f"{len(solved)} of {len(runs)} networks came to make no error in 10,000 "
        f"sequences {tested}, within {last:,} updates; of these {hold} made none at "
        f"T = {farthest:,}."
    )


GENERALISATION = Study(
    title="Lengths never seen: Pascanu, Mikolov and Bengio (2013), section 4.1",
    configs=_configs,
    figure=_figure,
    alt="Wrong answers to fresh sequences during training, a curve each seed.",
    finding=_finding,
    table=_table,
    protocol=(
        ("budget", "{budget}", "336,000 in a log of the authors' code"),
        ("lengths in training", "50 to 200", "50 to 199 (the authors' code)"),
    ),
    remarks=(
        "Temporal order, 50 tanh units, trained as by the authors' code: *smart tanh* "
        "initial weights, SGD with a learning rate of .01, 20 sequences an update, "
        "clip by norm at 1, Ω of weight 2 with held slopes. Tests are of 50 to 200 "
        "steps, or *at 1,000*: the training is the same, and goes on until a network "
        "holds what it remembers for so long. Wrong answers are those to 10,000 fresh "
        "sequences of each length, of the network as it first made no error in a test, "
        "or at the end if it never did."
    ),
    reach=dict.fromkeys(_configs(1), LENGTHS),
)
