"""What became of networks that began with different weights of Ω.

The networks of all rows start from the same parameters and meet the same sequences.
*r* is the norm of the weighted gradient of Ω over that of the loss, on one batch. There
the *gains* are measured too, of all steps and examples that count, and the lag at which
the error signal is *lost*, below 1 % of what it was. *Norm* is the median of the last
64 gradients, Ω among them, and *clipped* the share of these that met the clip; *wrong*
are answers to fresh sequences. From one number to another are those of the seeds.

    python -m benchmarks.weights.flow_weight
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import optax_ltd as ltd
from benchmarks import records
from benchmarks.weights.forms import FORMS, Form
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.network import Network
from optax_ltd.experiments.parts.problem import make_task
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.tasks import Batch, Task

CONFIG = Config(
    method="clip-norm+flow", length=50, updates=500, test_every=500, seeds=3
)
BATCH_KEY, BATCH_SIZE = 0, 200  # the batch of the guide
INIT = {"basic_tanh": "N(0, 0.1)"}  # as the page says it
DIGITS = 4  # of each number that is kept

# Of a network: r at a weight of 1, the mean gain and the mean lag, scalars.
Observer = Callable[[Network], tuple[jax.Array, ...]]


def observe(
    task: Task, batch: Batch, network: Network
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What a batch tells of a network.

    Args:
      task: of the loss.
      batch: to look at.
      network: as it stands.

    Returns:
      r at a weight of 1, in which it is linear, the mean gain, and the mean lag at
      which the signal is lost, scalars.
    """

    def loss_fn(network: Network, weight: float) -> jax.Array:
        return task.loss(network(batch, weight), batch)

    without, with_flow = (nnx.grad(loss_fn)(network, w) for w in (0.0, 1.0))
    of_flow = jax.tree.map(jnp.subtract, with_flow, without)
    flow = ltd.gradient_flow(loss_fn, network, 0.0).layers["rnn"]
    gain = jnp.sum(flow.gains * flow.active) / jnp.sum(flow.active)
    ratio = ltd.global_norm(of_flow) / ltd.global_norm(without)
    return ratio, gain, jnp.mean(flow.horizon())


def train(config: Config, observed: Observer) -> dict[str, Any]:
    """Trains all seeds with one weight, to the end of the budget.

    Args:
      config: the task, Ω and the budget.
      observed: `observe` of a batch.

    Returns:
      What came out, each with a number a seed.
    """
    runner = Runner(make_setup(config))
    runner.train(config.updates)
    before, after = (
        np.array(
            [observed(runner.network(i, trained=trained)) for i in range(config.seeds)]
        ).T
        for trained in (False, True)
    )
    seen = jax.vmap(ltd.metrics)(runner.opt_state)
    return {
        "flow_weight": config.flow_weight,
        "ratio_before": _kept(config.flow_weight * before[0]),
        "gain_before": _kept(before[1]),
        "horizon_before": _kept(before[2]),
        "ratio": _kept(config.flow_weight * after[0]),
        "gain": _kept(after[1]),
        "horizon": _kept(after[2]),
        "norm": _kept(seen["clip_by_global_norm/norm_p50"]),
        "clipped": _kept(seen["clip_by_global_norm/clipped_share"]),
        "wrong": _kept(runner.run.evaluations[-1].error),
        "seconds": runner.run.seconds,
    }


def run(config: Config = CONFIG, forms: Sequence[Form] = FORMS) -> dict[str, Any]:
    """Trains with every weight of every form.

    Args:
      config: the task and the budget.
      forms: of Ω.

    Returns:
      The record.
    """
    task = make_task(config)
    batch = task.sample(jax.random.key(BATCH_KEY), BATCH_SIZE)
    told = []
    for form in forms:
        observed = nnx.jit(partial(observe, task, batch))
        trained = []
        for weight in form.weights:
            changes: dict[str, Any] = {"flow_weight": weight, **form.options}
            came = train(dataclasses.replace(config, **changes), observed)
            print(f"{form.user}, {weight:g}: {came['wrong']} wrong", flush=True)
            trained.append(came)
        told.append({"user": form.user, "options": form.options, "trained": trained})
    return {
        "benchmark": "flow_weight",
        "case": {},
        "environment": records.environment(),
        "config": {
            "task": task.name,
            "chance": 1 - 1 / task.output_size,
            "length": config.length,
            "seeds": config.seeds,
            "updates": config.updates,
            "init": INIT[config.init],
            "hidden_size": config.hidden_size,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "max_norm": config.max_norm,
            "looked_at": BATCH_SIZE,
        },
        "forms": told,
    }


def _kept(values: Any) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in np.asarray(values)]


if __name__ == "__main__":
    print(records.write(run()))
