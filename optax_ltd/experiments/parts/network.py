"""One recurrent layer and a linear readout."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import optax_ltd as ltd
from optax_ltd.experiments.parts.choices import choose
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.network_table import CELLS, INITS, Initializer
from optax_ltd.tasks import Batch, Task, last


class Network(nnx.Module):
    """A recurrent layer, read after its last step or at every one.

    Attributes:
      rnn: The recurrent layer.
      head: The readout.
      readout: When it is read, as the task asks.
    """

    def __init__(self, rnn: ltd.FlowRNN, head: nnx.Linear, readout: str):
        self.rnn = rnn
        self.head = head
        self.readout = readout

    def __call__(
        self, batch: Batch, flow_weight: jax.typing.ArrayLike | None = None
    ) -> jax.Array:
        """Maps a batch to outputs [batch, output_size], or [batch, time, output_size].

        Args:
          batch: the sequences.
          flow_weight: of Ω, if another than the layer's.
        """
        return self.read(self.hidden(batch, flow_weight), batch)

    def hidden(
        self, batch: Batch, flow_weight: jax.typing.ArrayLike | None = None
    ) -> jax.Array:
        """What the recurrent layer puts out, [batch, time, units].

        Args:
          batch: the sequences.
          flow_weight: of Ω, if another than the layer's.
        """
        return self.rnn(
            batch.inputs, seq_lengths=batch.lengths, flow_weight=flow_weight
        )

    def read(self, hidden: jax.Array, batch: Batch) -> jax.Array:
        """What is made of that.

        Args:
          hidden: that `hidden` returned.
          batch: the sequences.
        """
        return self.head(hidden if self.readout == "every" else last(hidden, batch))


def make_network(
    config: Config,
    task: Task,
    *,
    rngs: nnx.Rngs,
    flow: Mapping[str, Any],
) -> Network:
    """The untrained network of a run.

    Args:
      config: of the run.
      task: what it shall learn.
      rngs: of the initial weights.
      flow: options of `optax_ltd.FlowRNN`.

    Raises:
      InputError: if the cell or the initial weights are unknown.
    """
    init = choose("init", config.init, INITS)
    scale = config.input_scale
    from_input = init.other if scale is None else nnx.initializers.normal(scale)
    row = choose("cell", config.cell, CELLS)
    cell = row.make(
        task.input_size,
        config.hidden_size,
        kernel_init=from_input,
        recurrent_kernel_init=partial(_gate_by_gate, init.recurrent),
        rngs=rngs,
        **{field: getattr(config, field) for field in row.fields},
    )
    head = nnx.Linear(
        config.hidden_size, task.output_size, kernel_init=init.other, rngs=rngs
    )
    return Network(ltd.FlowRNN(cell, rngs=rngs, **flow), head, task.readout)


def _gate_by_gate(
    init: Initializer, key: jax.Array, shape: tuple[int, int], dtype: Any
) -> jax.Array:
    """Weights [units, gates * units] of which each gate's are drawn by themselves."""
    units, columns = shape
    keys = jax.random.split(key, columns // units)
    gates = [init(key, (units, units), dtype) for key in keys]
    return jnp.concatenate(gates, axis=1)
