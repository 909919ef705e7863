"""One model for all lengths: train at 50 to 200 steps, test up to 5,000."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import cells, figures, markdown
from optax_ltd.experiments.studies.study import Runs, Study
from optax_ltd.experiments.training.run import Run

LENGTHS = (50, 100, 150, 200, 250, 500, 1000, 2000, 3000, 5000)
_TRAINED = (50, 200)
_SEEDS = 5
# By what a name ends in: what is other than in the authors' code.
_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "": {"test_every": 1000},
    "-averaged": {"averaging": 0.999, "test_length": (50, 1000), "test_every": 2000},
}


def _configs(updates: int) -> dict[str, Config]:
    """A run a seed: each ends at a test without an error."""
    return {
        f"{seed}{ending}": Config(
            length=_TRAINED,
            solved_below=1e-4,
            init="smart_tanh",
            flow_slopes="held",
            learning_rate=0.01,
            updates=updates,
            seeds=1,
            first_seed=seed,
            **changes,
        )
        for ending, changes in _CHANGES.items()
        for seed in range(_SEEDS)
    }


def _figure(runs: Runs) -> Figure:
    figure = figures.errors_by_length(
        (_kind(run), f"seed {run.config.first_seed}", run) for run in runs.values()
    )
    for axes in figure.axes:
        axes.axvspan(*_TRAINED, color="0.93", zorder=0)
    return figure


def _kind(run: Run) -> str:
    return "averaged networks" if run.config.averaging else "networks"


def _title(run: Run) -> str:
    averaged = ", averages" if run.config.averaging else ""
    return f"seed {run.config.first_seed}{averaged}"


def _table(runs: Runs) -> str:
    rows = [
        ["no error in 10,000 after", "–", *map(cells.solved_after, runs.values())],
        ["minutes", "–", *map(cells.minutes, runs.values())],
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
        _came(kind, [run for run in runs.values() if _kind(run) == kind])
        for kind in ("networks", "averaged networks")
    ]
    return f"{' '.join(told)} The paper reports none at any length for each of its 5."


def _came(kind: str, runs: Sequence[Run]) -> str:
    """How many came to make no error in a test, and how far they hold."""
    if not runs:
        return f"No {kind} have been trained yet."
    solved = [run for run in runs if run.num_solved]
    shortest, longest = runs[0].config.test_lengths
    tested = f"in a test of 10,000 sequences of {shortest:,} to {longest:,} steps"
    if not solved:
        return f"No {kind} came to make no error {tested}."
    last = max(at for run in solved for at in run.solved_at if at is not None)
    trained = _TRAINED[1]
    seen = _worst(solved, [length for length in LENGTHS if length <= trained])
    new = _worst(solved, [length for length in LENGTHS if length > trained])
    return (
        f"{len(solved)} of {len(runs)} {kind} came to make no error {tested}, within "
        f"{last:,} updates. Tested once more at each length, {new.count(0)} made none "
        f"beyond {trained} steps. At the worst length of each {_span(seen)} % were "
        f"wrong up to {trained} steps, and {_span(new)} % beyond."
    )


def _worst(runs: Sequence[Run], lengths: Sequence[int]) -> list[float]:
    """The largest error of each network at some lengths, in %."""
    return [100 * max(run.reach[length][0] for length in lengths) for run in runs]


def _span(errors: Sequence[float]) -> str:
    """From the least to the largest."""
    return " to ".join(f"{wrong:.3g}" for wrong in sorted({min(errors), max(errors)}))


GENERALISATION = Study(
    title="Lengths never seen: Pascanu, Mikolov and Bengio (2013), section 4.1",
    configs=_configs,
    figure=_figure,
    alt=(
        "Wrong answers to fresh sequences against their length, a curve each seed: on "
        "the left the networks, on the right averages of them; the lengths of training "
        "are shaded."
    ),
    finding=_finding,
    table=_table,
    protocol=(
        ("budget", "{budget}", "336,000 in a log of the authors' code"),
        ("lengths in training", "50 to 200", "50 to 199 (the authors' code)"),
        ("initial weights", "smart tanh", "basic tanh; smart tanh in its code"),
    ),
    remarks=(
        "Temporal order, 50 tanh units, trained as by the authors' code: *smart tanh* "
        "initial weights, SGD with a learning rate of .01, 20 sequences an update, "
        "clip by norm at 1, Ω of weight 2 with held slopes. Tests are of 50 to 200 "
        "steps. *Averages*: the same training, but what is tested is a running average "
        "of the weights, .1 % new after each update, at 50 to 1,000 steps; which of "
        "both makes the difference is not shown. Wrong answers are those to 10,000 "
        "fresh sequences of each length, of the network as it first made no error in a "
        "test, or at the end if it never did."
    ),
    reach=dict.fromkeys(_configs(1), LENGTHS),
)
