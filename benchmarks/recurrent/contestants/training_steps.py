"""One training step of a recurrent layer, for every contestant that JAX runs.

Forward pass, a loss at the last time step, the gradient of every parameter, and a step
of gradient descent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

import optax_ltd as ltd
from benchmarks.recurrent.contestants import cudnn_lstm, flow_in_the_loss
from benchmarks.recurrent.settings import (
    LINEN,
    NAIVE,
    NNX,
    NNX_4,
    NNX_16,
    NNX_HALF,
    OFF,
    ON,
    ON_1,
    ON_HALF,
    QUARTER,
    REMAT,
    VMAPPED,
    Setting,
)

STEP_SIZE = 1e-6

# (params, state, x) -> (loss, state)
Loss = Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]]


class TrainingStep(NamedTuple):
    """``carry = function(carry, x)`` with x ``[batch, time, inputs]``."""

    function: Callable[[Any, jax.Array], Any]
    carry: Any


def sample(setting: Setting) -> jax.Array:
    """The input of every contestant, ``[batch, time, inputs]``."""
    shape = (setting.batch, setting.time, setting.inputs)
    return jax.random.normal(jax.random.key(0), shape)


def training_steps(setting: Setting) -> dict[str, Callable[[], TrainingStep]]:
    """What makes the step of each contestant.

    Args:
      setting: the sizes.

    Returns:
      Functions without arguments, by name.
    """

    def cell(dtype: Any = None) -> Any:
        made = getattr(nnx, setting.cell)
        return made(setting.inputs, setting.hidden, dtype=dtype, rngs=nnx.Rngs(0))

    def flow(dtype: Any = None, **options: Any) -> TrainingStep:
        return _nnx(ltd.FlowRNN(cell(dtype), **options))

    def written_out(omega: flow_in_the_loss.Omega) -> TrainingStep:
        loss, params = flow_in_the_loss.loss_with(omega, cell(), last_step_loss)
        return _descent(lambda params, state, x: (loss(params, x), state), params)

    steps = {
        NNX: lambda: _nnx(nnx.RNN(cell())),
        NNX_4: lambda: _nnx(nnx.RNN(cell(), unroll=4)),
        NNX_16: lambda: _nnx(nnx.RNN(cell(), unroll=16)),
        NNX_HALF: lambda: _nnx(nnx.RNN(cell(jnp.bfloat16))),
        LINEN: lambda: _linen(setting),
        OFF: lambda: flow(),
        ON: lambda: flow(flow_weight=1.0),
        QUARTER: lambda: flow(flow_weight=1.0, flow_fraction=0.25),
        ON_HALF: lambda: flow(jnp.bfloat16, flow_weight=1.0),
        REMAT: lambda: flow(flow_weight=1.0, remat=True),
        VMAPPED: lambda: written_out(flow_in_the_loss.error_signals_held),
        NAIVE: lambda: written_out(flow_in_the_loss.through_back_propagation),
    }
    if jax.default_backend() != "cpu":  # There it is the same program.
        steps[ON_1] = lambda: flow(flow_weight=1.0, unroll=1)
    if cudnn_lstm.runs(setting):
        steps[cudnn_lstm.NAME] = lambda: _descent(
            *cudnn_lstm.loss_and_params(setting, last_step_loss)
        )
    return steps


def last_step_loss(outputs: jax.Array) -> jax.Array:
    """The loss, from the outputs of the last time step, ``[batch, hidden]``."""
    return jnp.mean(jnp.sum(outputs**2, axis=-1))


def _descent(loss: Loss, params: Any, state: Any = ()) -> TrainingStep:
    def function(carry: Any, x: jax.Array) -> Any:
        params, state = carry
        gradient, state = jax.grad(loss, has_aux=True)(params, state, x)
        params = jax.tree.map(lambda p, g: p - STEP_SIZE * g, params, gradient)
        return params, state

    return TrainingStep(function, (params, state))


def _nnx(model: nnx.Module) -> TrainingStep:
    # The state counts the draws of the sampled steps, so that each update has its own.
    graphdef, params, state = nnx.split(model, nnx.Param, ...)

    def loss(params: Any, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        layer: Any = nnx.merge(graphdef, params, state, copy=True)
        value = last_step_loss(layer(x)[:, -1])
        return value, nnx.split(layer, nnx.Param, ...)[2]

    return _descent(loss, params, state)


def _linen(setting: Setting) -> TrainingStep:
    model = nn.RNN(getattr(nn, setting.cell)(setting.hidden))

    def loss(params: Any, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        outputs: Any = model.apply(params, x)
        return last_step_loss(outputs[:, -1]), state

    return _descent(loss, model.init(jax.random.key(0), sample(setting)))
