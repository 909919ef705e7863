"""One model for all lengths: train at 50 to 200 steps, test up to 5,000."""

from matplotlib.figure import Figure

from optax_ltd.experiments import figures, markdown
from optax_ltd.experiments.config import Config
from optax_ltd.experiments.study import Runs, Study

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
    return figures.error_curves({_title(run.config): run for run in runs.values()})


def _table(runs: Runs) -> str:
    titles = [_title(run.config) for run in runs.values()]
    rows = [
        [
            f"{length:,}",
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
    return markdown.table(["T", "paper", *titles], [solved, after, *rows])


def _title(config: Config) -> str:
    shortest, longest = config.lengths
    return f"{shortest} to {longest} steps, {config.init.replace('_', ' ')}"


GENERALISATION = Study(
    title="Lengths never seen: Pascanu, Mikolov and Bengio (2013), section 4.1",
    configs=_configs,
    figure=_figure,
    table=_table,
    remarks=(
        "Wrong answers of 10,000 in %, a number a seed, of tanh networks that learned "
        "temporal order by SGD with learning rate .05, clip at 1 and Ω with weight 2, "
        "each as it first solved the task, or at the end if it did not. "
        "The paper's begin as basic tanh and learn at 50 to 200 steps; it reports no "
        "error at any of these lengths, with learning rate .01. A log of the authors' "
        "code took 336,000 updates at 50 to 199 steps."
    ),
    reach=LENGTHS,
)
