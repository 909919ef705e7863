"""The living parts of a run, made from its config."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial

import jax
import optax
from flax import nnx

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.flossing import Flossing, make_flossing
from optax_ltd.experiments.parts.growth import check_growth
from optax_ltd.experiments.parts.methods import flow_options, make_optimizer
from optax_ltd.experiments.parts.network import Network, make_network
from optax_ltd.experiments.parts.objective import Objective, make_objective
from optax_ltd.experiments.parts.problem import make_task, make_test_task
from optax_ltd.tasks import Task

FlowWeight = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run trains, on what, and how.

    Attributes:
      config: What the parts were made from.
      task: The problem to solve.
      test_task: The problem to test on.
      new_network: Makes an untrained network from ``rngs``.
      flow_weight: The weight of Ω at an update, of which there were so many before;
        None if the network has its own.
      new_optimizer: Makes the optimiser with what guards it, from a key. If
        `optax_ltd.metrics` finds a count of gradients that are not finite in its
        state, a run shows it.
      objective: What the optimiser is told of a batch to search by; None if it does
        not search.
      flossing: What is done beside training; None for nothing.
    """

    config: Config
    task: Task
    test_task: Task
    new_network: Callable[..., Network]
    flow_weight: FlowWeight | None
    new_optimizer: Callable[[jax.Array], optax.GradientTransformation]
    objective: Objective | None
    flossing: Flossing | None


@cache
def make_setup(config: Config) -> Setup:
    """The parts of a run, made once in a process for all who ask.

    Args:
      config: of the run.

    Raises:
      InputError: if anything in the config is unknown or out of range, or the text
        cannot be read.
    """
    task = make_task(config)
    check_growth(config)
    flow = flow_options(config)
    new_network = partial(make_network, config, task, flow=flow)
    new_optimizer = partial(make_optimizer, config)
    # Both judge their options.
    nnx.eval_shape(lambda: new_network(rngs=nnx.Rngs(0)))
    new_optimizer(jax.random.key(0))
    return Setup(
        config,
        task,
        make_test_task(config),
        new_network,
        _schedule(config, flow["flow_weight"]),
        new_optimizer,
        make_objective(config, task),
        make_flossing(config),
    )


def _schedule(config: Config, weight: float) -> FlowWeight | None:
    if not config.flow_decay or not weight:
        return None
    return lambda update: weight / (1 + update / config.flow_decay)
