"""The network of Pascanu et al.: one layer of tanh units, read at the last step."""

import jax
from flax import nnx

import optax_ltd as ltd
from optax_ltd.tasks import Batch, last


class TanhNet(nnx.Module):
    """Tanh units with basic initial weights N(0, .1) and a linear readout.

    Ω has the form of the authors' code, for which its weights are known: squared
    ratios, averaged over time, acting on the recurrent weights alone.

    Attributes:
      rnn: The recurrent layer.
      head: The readout of the last step.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        flow_weight: float,
        *,
        rngs: nnx.Rngs,
    ):
        normal = nnx.initializers.normal(0.1)
        cell = nnx.SimpleCell(
            input_size,
            hidden_size,
            kernel_init=normal,
            recurrent_kernel_init=normal,
            rngs=rngs,
        )
        self.rnn = ltd.FlowRNN(
            cell,
            flow_weight=flow_weight,
            flow_form="squared_ratio",
            flow_reduction="mean",
            flow_params="recurrent",
        )
        self.head = nnx.Linear(hidden_size, output_size, kernel_init=normal, rngs=rngs)

    def __call__(self, batch: Batch) -> jax.Array:
        """Maps a batch to outputs [batch, output_size] after each last step."""
        hidden = self.rnn(batch.inputs, seq_lengths=batch.lengths)
        return self.head(last(hidden, batch))
