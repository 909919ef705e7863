"""The pictures of an experiment."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import optax_ltd as ltd
from optax_ltd import plots
from optax_ltd.experiments.model import TanhNet
from optax_ltd.experiments.run import Run

_FLOW_SEED = 0  # the network whose error signals are drawn
_FLOW_BATCH = 200


def save_error_curves(runs: Sequence[Run], path: Path) -> None:
    """Draws the test errors of all methods; writes a PNG."""
    task = runs[0].settings.task
    curves = {
        run.method.name: (
            np.array([e.update for e in run.evaluations]),
            np.stack([e.error for e in run.evaluations]),
        )
        for run in runs
    }
    _save(
        plots.error_curves(
            curves, chance_error=task.chance_error, solved_below=task.solved_below
        ),
        path,
    )


def save_gradient_flow(runs: Sequence[Run], path: Path) -> None:
    """Draws the error signal along time before and after training; writes a PNG."""
    task = runs[0].settings.task
    batch = task.sample(jax.random.key(_FLOW_SEED), _FLOW_BATCH)

    def loss_fn(model: TanhNet, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        inputs, targets = batch
        return task.loss(model(inputs), targets)

    models = {"before training": runs[0].model(_FLOW_SEED, trained=False)}
    models |= {run.method.name: run.model(_FLOW_SEED) for run in runs}
    reports = {
        name: ltd.gradient_flow(loss_fn, model, batch) for name, model in models.items()
    }
    _save(plots.gradient_flow(reports), path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
