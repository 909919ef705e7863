"""cuDNN's LSTM by `jax.experimental.rnn`, where JAX runs on an NVIDIA GPU."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.recurrent.settings import Setting

NAME = "cuDNN by jax.experimental.rnn"


def runs(setting: Setting) -> bool:
    """Whether cuDNN has this cell and this machine has cuDNN."""
    return "LSTM" in setting.cell and jax.default_backend() == "gpu"


def loss_and_params(
    setting: Setting, last_step_loss: Callable[[jax.Array], jax.Array]
) -> tuple[Callable[..., tuple[jax.Array, Any]], jax.Array]:
    """The loss ``(weights, state, x) -> (loss, state)``, and the weights.

    Args:
      setting: the sizes.
      last_step_loss: of ``[batch, hidden]``.

    Returns:
      The loss and the packed weights.
    """
    from jax.experimental import rnn

    inputs, hidden, layers = setting.inputs, setting.hidden, 1
    start = jnp.zeros((1, setting.batch, setting.hidden))
    lengths = jnp.full((setting.batch,), setting.time, jnp.int32)

    def loss(weights: jax.Array, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        # By position, as a custom derivative wants them: no dropout, one direction.
        result: Any = rnn.lstm(
            x, start, start, weights, lengths, inputs, hidden, layers, 0.0, False
        )
        return last_step_loss(result[0][:, -1]), state

    key = jax.random.key(0)
    return loss, rnn.init_lstm_weight(key, inputs, hidden, layers, False)
