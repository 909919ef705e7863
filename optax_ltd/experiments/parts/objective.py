"""The loss of a batch as an optimiser may ask for it: as functions of parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.method_table import OPTIMIZERS
from optax_ltd.experiments.parts.network import Network
from optax_ltd.tasks import Batch, Task


@dataclasses.dataclass(frozen=True)
class Objective:
    """What `optax_ltd.hessian_free` is handed of a batch.

    Attributes:
      task: Whose loss it is.
      curvature_batch_size: Sequences of a batch, its first, whose curvature is taken.
      gives_hidden: Whether the outputs come with the hidden states.
    """

    task: Task
    curvature_batch_size: int
    gives_hidden: bool

    def __call__(
        self, batch: Batch, network: Callable[[nnx.State], Network]
    ) -> dict[str, Callable[..., Any]]:
        """The keyword arguments of an update.

        Args:
          batch: the sequences of the update.
          network: from its parameters.

        Returns:
          ``predict`` and ``loss``, and ``value_fn`` if the curvature is not that of the
          whole batch.
        """
        part: Batch = jax.tree.map(lambda x: x[: self.curvature_batch_size], batch)

        def predict(params: nnx.State) -> Any:
            made = network(params)
            hidden = made.hidden(part)
            outputs = made.read(hidden, part)
            inside = jnp.arange(hidden.shape[1]) < part.lengths[:, None]
            counted = hidden * inside[:, :, None]
            return (outputs, counted) if self.gives_hidden else outputs

        def loss(outputs: jax.Array) -> jax.Array:
            return self.task.loss(outputs, part)

        def value(params: nnx.State) -> jax.Array:
            return self.task.loss(network(params)(batch), batch)

        functions: dict[str, Callable[..., Any]] = {"predict": predict, "loss": loss}
        if self.curvature_batch_size < len(batch.lengths):
            functions["value_fn"] = value
        return functions


def make_objective(config: Config, task: Task) -> Objective | None:
    """The objective of a run; None if its optimiser makes no use of one.

    Args:
      config: of the run.
      task: that is trained on.

    Raises:
      InputError: if the curvature is to be that of more sequences than an update has.
    """
    if not OPTIMIZERS[config.optimizer].searches:
        return None
    size = config.curvature_batch_size or config.batch_size
    if size > config.batch_size:
        told = f"at most the sequences of a batch, {config.batch_size}"
        raise refusal("curvature_batch_size", told, f"{size}")
    return Objective(task, size, config.structural_damping > 0)
