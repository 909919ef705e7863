"""Clips side by side: of the book's conjecture that they behave alike."""

from matplotlib.figure import Figure

from optax_ltd.experiments import figures, markdown
from optax_ltd.experiments.config import Config
from optax_ltd.experiments.study import Runs, Study

METHODS = ("none", "flow", "clip-value", "clip-norm", "clip-random", "carry-clip")

_BARE = ("none", "flow")  # what the clips, each with Ω, are compared with


def _configs(updates: int) -> dict[str, Config]:
    return {
        method: Config(
            length=50,
            method=method if method in _BARE else f"{method}+flow",
            max_value=0.1,
            updates=updates,
            test_every=500,
            seeds=5,
        )
        for method in METHODS
    }


def _figure(runs: Runs) -> Figure:
    return figures.error_curves({run.title: run for run in runs.values()})


def _table(runs: Runs) -> str:
    return markdown.table(
        ["method", "updates", "solved", "after", "wrong at the end, %", "Inf or NaN"],
        [
            [
                run.title,
                f"{run.update:,}",
                markdown.solved(run),
                markdown.solved_after(run),
                markdown.wrong_at_the_end(run),
                " ".join(f"{count:,}" for count in run.evaluations[-1].nonfinite),
            ]
            for run in runs.values()
        ],
    )


CLIP_VARIANTS = Study(
    title="Clips side by side, on temporal order at T = 50",
    configs=_configs,
    figure=_figure,
    table=_table,
    remarks=(
        "Goodfellow, Bengio and Courville (2016, section 10.11.1) expect clipping by "
        "element, by norm and by the error signal at each step to behave alike, and a "
        "random step in place of a gradient above the threshold to work almost as "
        "well. No comparison was found in print. One threshold each: 1, or .1 for "
        "single elements. All but plain SGD have Ω of weight 2. Learning rate .05, "
        "basic tanh weights."
    ),
)
