"""One model for all lengths: train at 50 to 200 steps, test up to 5,000."""

from matplotlib.figure import Figure

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.studies import figures, markdown
from optax_ltd.experiments.studies.study import Runs, Study

LENGTHS = (50, 100, 150, 200, 250, 500, 1000, 2000, 3000, 5000)
_RANGES = {"50-200": (50, 200), "10-200": (10, 200)}


def _configs(updates: int) -> dict[str, Config]:
    return {
        f"{name}-{init}": Config(
            length=lengths,
            init=init,
            updates=updates,
            test_every=1000,
            seeds=5,
        )
        for name, lengths in _RANGES.items()
        for init in ("basic_tanh", "orthogonal")
    }


def _figure(runs: Runs) -> Figure:
    task = make_test_task(next(iter(runs.values())).config)
    return figures.error_curves(
        task, {_title(run.config): run for run in runs.values()}
    )


def _table(runs: Runs) -> str:
    titles = [_title(run.config) for run in runs.values()]
    rows = [
        [
            f"wrong at T = {length:,}",
            "0",
            *(
                " ".join(f"{100 * error:.2g}" for error in run.reach[length])
                for run in runs.values()
            ),
        ]
        for length in LENGTHS
    ]
    solved = ["solved on its lengths", "5 of 5", *map(markdown.solved, runs.values())]
    after = ["after", "–", *map(markdown.solved_after, runs.values())]
    return markdown.table(["", "paper", *titles], [solved, after, *rows])


def _title(config: Config) -> str:
    shortest, longest = config.lengths
    return f"{shortest} to {longest} steps, {config.init.replace('_', ' ')}"


def _finding(runs: Runs) -> str:
    solved = {
        name: [i for i, at in enumerate(run.solved_at) if at is not None]
        for name, run in runs.items()
    }
    faultless = [
        max((length for length in LENGTHS if not run.reach[length][i]), default=0)
        for name, run in runs.items()
        for i in solved[name]
    ]
    if not faultless:
        return "No network solved the task on its own lengths within the budget."
    count, all_ = len(faultless), sum(run.config.seeds for run in runs.values())
    farthest = sum(reached == LENGTHS[-1] for reached in faultless)
    return (
        f"{count} of {all_} networks solved the task on their own lengths. Of these "
        f"{farthest} made no error in 10,000 at T = {LENGTHS[-1]:,}, where the paper "
        "reports none for each of its 5."
    )


GENERALISATION = Study(
    title="Lengths never seen: Pascanu, Mikolov and Bengio (2013), section 4.1",
    configs=_configs,
    figure=_figure,
    alt=(
        "Wrong answers to fresh sequences during training, by the lengths learned and "
        "the initial weights."
    ),
    finding=_finding,
    table=_table,
    protocol=(
        ("budget", "{budget}", "336,000 in a log of the authors' code"),
        ("lengths in training", "50 to 200, or 10 to 200", "50 to 200"),
        ("learning rate", ".05", ".01"),
        ("initial weights", "basic tanh, or orthogonal", "basic tanh"),
    ),
    remarks=(
        "Wrong answers to 10,000 fresh sequences of each length in %, a number a seed: "
        "of the network as it first solved the task on its own lengths, or at the end "
        "if it did not. Clip at 1, Ω of weight 2."
    ),
    reach=dict.fromkeys(_configs(1), LENGTHS),
)
