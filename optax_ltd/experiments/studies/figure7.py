"""Figure 7 of Pascanu et al.: success against length, by method and initial weights."""

from matplotlib.figure import Figure

from optax_ltd import plots
from optax_ltd.experiments import figures, markdown
from optax_ltd.experiments.config import Config
from optax_ltd.experiments.study import Runs, Study

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
    panels: dict[str, dict[str, list[plots.Rate]]] = {}
    for run in runs.values():
        methods = panels.setdefault(INITS[run.config.init], {})
        rates = methods.setdefault(METHODS[run.config.method], [])
        rates.append(figures.success_rate(run))
    return plots.success_rates(panels)


def _table(runs: Runs) -> str:
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for run in runs.values():
        key = INITS[run.config.init], METHODS[run.config.method]
        rows.setdefault(key, {})[run.config.lengths[1]] = markdown.solved(run)
    lengths = sorted({length for cells in rows.values() for length in cells})
    return markdown.table(
        ["initial weights", "method", *(f"T = {length}" for length in lengths)],
        [
            [init, method, *(cells.get(length, "not run") for length in lengths)]
            for (init, method), cells in rows.items()
        ],
    )


FIGURE7 = Study(
    title="Figure 7 of Pascanu, Mikolov and Bengio (2013): temporal order",
    configs=_configs,
    figure=_figure,
    table=_table,
    remarks=(
        "The paper gives its bars as a picture alone, and says of them that clipping "
        "matters more as sequences grow and that Ω without clipping usually fails. Its "
        "budget is 5 million updates and its learning rate .01, here .05. Ω has the "
        "weight 4 of the paper; its form is that of the authors' code, ratios of "
        "squared norms in a mean over time, where the paper writes ratios of norms and "
        "a sum."
    ),
)
