"""One model for all lengths: train at 50 to 200 steps, test up to 5,000."""

from matplotlib.figure import Figure

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.studies import figures, markdown
from optax_ltd.experiments.studies.study import Runs, Study

LENGTHS = (50, 100, 150, 200, 250, 500, 1000, 2000, 3000, 5000)
_SEEDS = 5


def _configs(updates: int) -> dict[str, Config]:
    """A run a seed: each ends when it makes no error, and that may take long."""
    return {
        f"{seed}": Config(
            length=(50, 200),
            solved_below=1e-4,
            init="smart_tanh",
            flow_slopes="held",
            learning_rate=0.01,
            updates=updates,
            test_every=1000,
            seeds=1,
            first_seed=seed,
        )
        for seed in range(_SEEDS)
    }


def _figure(runs: Runs) -> Figure:
    task = make_test_task(next(iter(runs.values())).config)
    return figures.error_curves(
        task, {f"seed {name}": run for name, run in runs.items()}
    )


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
    return markdown.table(["", "paper", *(f"seed {name}" for name in runs)], rows)


def _finding(runs: Runs) -> str:
    solved = [run for run in runs.values() if run.num_solved]
    if not solved:
        return "No network came to make no error within the budget."
    last = max(at for run in solved for at in run.solved_at if at is not None)
    farthest = LENGTHS[-1]
    hold = sum(not run.reach[farthest][0] for run in solved)
    return (
        f"{len(solved)} of {len(runs)} networks came to make no error in 10,000 "
        f"sequences of 50 to 200 steps, within {last:,} updates. Of these {hold} made "
        f"none at T = {farthest:,} either, where the paper reports none for each of "
        "its 5."
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
        "clip by norm at 1, Ω of weight 2 with held slopes. Wrong answers are those to "
        "10,000 fresh sequences of each length, of the network as it first made no "
        "error on its own lengths, or at the end if it never did."
    ),
    reach=dict.fromkeys(_configs(1), LENGTHS),
)
