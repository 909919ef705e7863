"""The pictures of an experiment."""

from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

import optax_ltd as ltd
from optax_ltd import plots
from optax_ltd.experiments.model import TanhNet
from optax_ltd.experiments.run import Run
from optax_ltd.experiments.runner import Runner
from optax_ltd.tasks import Batch

FLOW_SEED = 0  # the network whose error signals are drawn
_FLOW_BATCH = 200


def error_curves(runs: Sequence[Run]) -> Figure:
    """Draws the test errors of all methods."""
    task = runs[0].settings.task
    curves = {
        run.method.name: (
            np.array([e.update for e in run.evaluations]),
            np.stack([e.error for e in run.evaluations]),
        )
        for run in runs
    }
    return plots.error_curves(
        curves, chance_error=task.chance_error, solved_below=task.solved_below
    )


def gradient_flow(runners: Sequence[Runner]) -> Figure:
    """Draws one network's error signal along time, before and after training."""
    task = runners[0].run.settings.task
    batch = task.sample(jax.random.key(FLOW_SEED), _FLOW_BATCH)

    def loss_fn(model: TanhNet, batch: Batch) -> jax.Array:
        return task.loss(model(batch), batch)

    models = {"before training": runners[0].model(FLOW_SEED, trained=False)}
    models |= {f"after {r.run.method.name}": r.model(FLOW_SEED) for r in runners}
    reports = {
        name: ltd.gradient_flow(loss_fn, model, batch) for name, model in models.items()
    }
    return plots.gradient_flow(reports)
