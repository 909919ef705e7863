"""Clips side by side: of the book's conjecture that they behave alike."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import cells, figures, markdown
from optax_ltd.experiments.studies.study import Runs, Study
from optax_ltd.experiments.training.run import Run

# The field that has the threshold of each clip, and its values.
CLIPS: dict[str, tuple[str, tuple[float, ...]]] = {
    "clip-value": ("max_value", (0.01, 0.1, 1.0)),
    "clip-norm": ("max_norm", (0.1, 1.0, 10.0)),
    "clip-random": ("max_norm", (0.1, 1.0, 10.0)),
    "carry-clip": ("carry_max_norm", (0.005, 0.05, 0.5)),
}
_BARE = ("none", "flow")  # what the clips, each with Ω, are compared with


def _configs(updates: int) -> dict[str, Config]:
    methods: dict[str, dict[str, Any]] = {m: {"method": m} for m in _BARE}
    methods |= {
        f"{clip}-{threshold:g}": {"method": f"{clip}+flow", field: threshold}
        for clip, (field, thresholds) in CLIPS.items()
        for threshold in thresholds
    }
    return {
        name: Config(length=50, updates=updates, test_every=500, seeds=5, **method)
        for name, method in methods.items()
    }


def _figure(runs: Runs) -> Figure:
    groups: dict[str, dict[str, Run]] = {}
    for run in runs.values():
        threshold = _threshold(run)
        group, row = (run.title, threshold) if threshold else ("no clip", run.title)
        groups.setdefault(group, {})[row] = run
    return figures.updates_to_solve(groups)


def _best(runs: Runs) -> dict[str, Run]:
    """By method, the run with the threshold that served it best."""
    best: dict[str, Run] = {}
    for run in runs.values():
        if run.title not in best or _cost(run) < _cost(best[run.title]):
            best[run.title] = run
    return best


def _label(run: Run) -> str:
    threshold = _threshold(run)
    return f"{run.title} ({threshold})" if threshold else run.title


def _cost(run: Run) -> tuple[int, int]:
    """Seeds that did not solve the task, and updates of those that did until then."""
    unsolved = run.config.seeds - run.num_solved
    return unsolved, sum(at or 0 for at in run.solved_at)


def _threshold(run: Run) -> str:
    clip = run.config.method.removesuffix("+flow")
    return f"{getattr(run.config, CLIPS[clip][0]):g}" if clip in CLIPS else ""


def _table(runs: Runs) -> str:
    heads = ["method", "threshold", "updates", "solved", "after", "wrong at the end, %"]
    return markdown.table(
        [*heads, "Inf or NaN"],
        [
            [
                run.title,
                _threshold(run) or "–",
                f"{run.update:,}",
                cells.solved(run),
                cells.solved_after(run),
                cells.wrong_at_the_end(run),
                " ".join(f"{count:,}" for count in run.evaluations[-1].nonfinite),
            ]
            for run in runs.values()
        ],
    )


def _finding(runs: Runs) -> str:
    told = []
    for run in _best(runs).values():
        solved = [at for at in run.solved_at if at is not None]
        after = f" after {np.median(solved):,.0f} updates (median)" if solved else ""
        told.append(f"{_label(run)} {len(solved)} of {run.config.seeds}{after}")
    yet = " of those run yet" if len(runs) < len(_configs(1)) else ""
    return (
        f"Seeds that solved it, with the threshold{yet} that served each clip best: "
        f"{'; '.join(told)}. Goodfellow, Bengio and Courville (2016, section 10.11.1) "
        "expect clipping by element, by norm and by the error signal at each step to "
        "behave alike, and a random step in place of a gradient above the threshold "
        "to work almost as well."
    )


CLIP_VARIANTS = Study(
    title="Clips side by side, on temporal order at T = 50",
    configs=_configs,
    figure=_figure,
    alt=(
        "Updates after which each seed first solved temporal order: a row each "
        "threshold of each clip."
    ),
    finding=_finding,
    table=_table,
    remarks=(
        "We know of no published comparison. All but plain SGD have Ω of weight 2. "
        "Learning rate .05, basic tanh weights. The carry clip bounds the error signal "
        "of each sequence at each step; a sequence has 1/20 of the loss. The best "
        "threshold is that with which most seeds solved the task, and of these the one "
        "with which they were fastest."
    ),
)
