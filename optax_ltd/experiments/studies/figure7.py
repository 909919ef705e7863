"""Figure 7 of Pascanu et al.: success against length, by method and initial weights."""

from matplotlib.figure import Figure

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import cells, figures, markdown
from optax_ltd.experiments.studies.study import Runs, Study

LENGTHS = (20, 50, 100, 150, 200)
METHODS = {
    "none": "SGD",
    "clip-norm": "SGD + clip",
    "clip-norm+flow": "SGD + clip + Ω",
    "flow": "SGD + Ω",
}
INITS = {"sigmoid": "sigmoid", "basic_tanh": "basic tanh", "smart_tanh": "smart tanh"}


def _configs(updates: int) -> dict[str, Config]:
    return {
        f"{length}-{init}-{method}": Config(
            length=length,
            init=init,
            cell="sigmoid" if init == "sigmoid" else "tanh",
            method=method,
            flow_weight=4.0,
            learning_rate=0.05,
            updates=updates,
            test_every=500,
            seeds=5,
        )
        for length in LENGTHS
        for init in INITS
        for method in METHODS
    }


def _figure(runs: Runs) -> Figure:
    return figures.success_rates(
        (INITS[run.config.init], METHODS[run.config.method], run)
        for run in runs.values()
    )


def _table(runs: Runs) -> str:
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for run in runs.values():
        key = INITS[run.config.init], METHODS[run.config.method]
        rows.setdefault(key, {})[run.config.lengths[1]] = cells.solved(run)
    lengths = sorted({length for row in rows.values() for length in row})
    return markdown.table(
        ["initial weights", "method", *(f"T = {length}" for length in lengths)],
        [
            [init, method, *(row.get(length, "not run") for length in lengths)]
            for (init, method), row in rows.items()
        ],
    )


def _finding(runs: Runs) -> str:
    reached, missing = [], []
    for method, title in METHODS.items():
        by_length = _solved(runs, method)
        longest = max((length for length, (n, _) in by_length.items() if n), default=0)
        if by_length:
            reached.append(f"{title} {longest or 'none'}")
        else:
            missing.append(title)
    alone = [
        f"{solved} of {seeds} at T = {length}"
        for length, (solved, seeds) in _solved(runs, "flow").items()
    ]
    told = f"; not run yet: {', '.join(missing)}" if missing else ""
    here = f"of the seeds with Ω and no clip {', '.join(alone)} solved it here"
    return (
        "The longest T that any seed of any initial weights solved within the budget: "
        f"{', '.join(reached)}{told}. The paper says that clipping matters more as "
        "sequences grow, and that Ω without clipping usually fails; "
        f"{here if alone else 'Ω without clipping has not been run here yet'}."
    )


def _solved(runs: Runs, method: str) -> dict[int, tuple[int, int]]:
    """By length, the seeds that solved it and all seeds, whatever their weights."""
    counts: dict[int, tuple[int, int]] = {}
    for run in runs.values():
        if run.config.method == method:
            solved, seeds = counts.get(run.config.lengths[1], (0, 0))
            solved += run.num_solved
            counts[run.config.lengths[1]] = solved, seeds + run.config.seeds
    return counts


def summary(runs: Runs) -> str:
    """How many seeds solved it by each method, whatever their weights, as a table.

    Args:
      runs: of the study, by name.
    """
    rows = []
    for method, title in METHODS.items():
        solved = _solved(runs, method)
        counts = (solved.get(length) for length in LENGTHS)
        told = (f"{n[0]} of {n[1]}" if n else "not run" for n in counts)
        rows.append([title, *told])
    return markdown.table(["solved", *(f"T = {length}" for length in LENGTHS)], rows)


FIGURE7 = Study(
    title="Figure 7 of Pascanu, Mikolov and Bengio (2013): temporal order",
    configs=_configs,
    figure=_figure,
    alt=(
        "Share of five seeds that solved temporal order, with its confidence "
        "interval, against the length of the sequences: a panel each kind of initial "
        "weights, a colour each method."
    ),
    finding=_finding,
    table=_table,
    protocol=(
        ("budget", "{budget}", "at most 5,000,000"),
        ("learning rate", ".05", ".01"),
        (
            "Ω",
            "ratios of squared norms, mean over time (the authors' code)",
            "ratios of norms, sum over time",
        ),
        ("success", "the table", "bars in a picture, without numbers"),
    ),
    remarks=(
        "As in the paper: 50 units, 20 sequences an update, clip at 1, Ω of weight 4, "
        "5 seeds."
    ),
)
