"""Phases of a run in which no loss is descended, but the flossing penalty."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import optax_ltd as ltd
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.methods import parts
from optax_ltd.experiments.parts.network import Network
from optax_ltd.experiments.parts.problem import make_task
from optax_ltd.tasks import Task

# As in the code of the paper: one sequence an update, of which these steps are used,
# and of their growth not the first three tenths; one Adam for all phases.
_STEPS, _WARMUP = 55, 0.3
_LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Flossing:
    """Flossing before training and now and then.

    Attributes:
      task: Whose sequences drive the network meanwhile.
      optimizer: Of all phases. A gradient that is not finite is no update of it.
      share: Of the exponents, the largest, that are driven to 0.
      updates: In one phase.
      every: Updates of training from the start of a phase to that of the next.
      phases: How many; the first comes before training.
    """

    task: Task
    optimizer: optax.GradientTransformation
    share: float
    updates: int
    every: int
    phases: int

    def is_due(self, update: jax.Array) -> jax.Array:
        """Whether a phase comes before an update of training."""
        return (update % self.every == 0) & (update // self.every < self.phases)

    def phase(
        self,
        params: nnx.State,
        state: optax.OptState,
        key: jax.Array,
        network: Callable[[nnx.State], Network],
    ) -> tuple[nnx.State, optax.OptState]:
        """Makes the updates of one phase.

        Args:
          params: of the network.
          state: of the optimiser.
          key: of the sequences of this phase.
          network: from its parameters.
        """

        def once(i: jax.Array, at: tuple[nnx.State, optax.OptState]) -> Any:
            params, state = at
            batch = self.task.sample(jax.random.fold_in(key, i), 1)
            grads = jax.grad(lambda p: self.penalty(network(p), batch.inputs))(params)
            updates, state = self.optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, self.updates, once, (params, state))

    def penalty(self, network: Network, inputs: jax.Array) -> jax.Array:
        """The mean square of a network's largest Lyapunov exponents, a scalar.

        Args:
          network: whose recurrent layer it is of.
          inputs: [batch, time, features].
        """
        inputs = jnp.swapaxes(inputs[:, :_STEPS], 0, 1)
        graphdef, variables = nnx.split(network.rnn.cell)
        carry = network.rnn.cell.initialize_carry(inputs.shape[1:], nnx.Rngs(0))
        size = sum(leaf.shape[-1] for leaf in jax.tree.leaves(carry))

        def step(variables: nnx.State, carry: Any, x: jax.Array) -> Any:
            return nnx.merge(graphdef, variables)(carry, x)

        return ltd.flossing_penalty(
            step,
            variables,
            carry,
            inputs,
            max(1, round(self.share * size)),
            warmup=int(_WARMUP * len(inputs)),
        )


def flossing_sequences(config: Config, updates: int) -> int:
    """Sequences that flossing has learned from, one at each of its updates.

    Args:
      config: of the run.
      updates: of training so far.
    """
    if "flossing" not in parts(config):
        return 0
    begun = min(config.flossing_phases, -(-updates // config.flossing_every))
    return begun * config.flossing_updates


def make_flossing(config: Config) -> Flossing | None:
    """The flossing of a run; None if its method has none.

    Args:
      config: of the run.

    Raises:
      InputError: if the method, or the task at its longest, is unknown.
    """
    if "flossing" not in parts(config):
        return None
    # At one length, so that no step is beyond the end of a sequence.
    longest = dataclasses.replace(config, length=config.lengths[1])
    return Flossing(
        make_task(longest),
        ltd.skip_steps(optax.adam(_LEARNING_RATE)),
        share=config.flossing_share,
        updates=config.flossing_updates,
        every=config.flossing_every,
        phases=config.flossing_phases,
    )
