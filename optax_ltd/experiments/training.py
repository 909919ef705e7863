"""The training loop: many updates of all seeds in one compiled call."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from optax_ltd.experiments.methods import Method
from optax_ltd.experiments.model import TanhNet
from optax_ltd.tasks import Task

_TEST_BATCH = 500  # sequences tested at once: their carries stay in the cache


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all methods of one experiment have in common.

    Attributes:
      task: The problem to solve.
      seeds: Networks trained at the same time, with seeds 0, 1, ...
      updates: The budget: updates for each method.
      test_every: Updates from one test to the next.
      hidden_size: Recurrent units.
      batch_size: Sequences in one update.
      learning_rate: Constant step size.
    """

    task: Task
    seeds: int = 3
    updates: int = 10_000
    test_every: int = 250
    hidden_size: int = 50
    batch_size: int = 20
    learning_rate: float = 0.05


class Member(NamedTuple):
    """One seed's network in training; a run stacks all of them along axis 0.

    Attributes:
      params: The parameters.
      rest: The network's other variables.
      opt_state: The optimiser's state.
      data_key: Key of the sequences to train on.
      test_key: Key of the sequences to test on.
    """

    params: nnx.State
    rest: nnx.State
    opt_state: optax.OptState
    data_key: jax.Array
    test_key: jax.Array


class Trainer:
    """The pure functions of one method's training.

    Every method starts from the same networks and meets the same sequences, for all
    randomness comes from the seed and the number of the update.
    """

    def __init__(self, method: Method, settings: Settings):
        self._settings = settings
        self._optimizer = optax.chain(method.guard, optax.sgd(settings.learning_rate))
        self._new_model: Callable[..., TanhNet] = functools.partial(
            TanhNet,
            settings.task.input_size,
            settings.hidden_size,
            settings.task.output_size,
            method.flow_weight,
        )
        self._graph = nnx.split(
            nnx.eval_shape(lambda: self._new_model(rngs=nnx.Rngs(0)))
        )[0]

    def init(self, seed: int) -> Member:
        """Returns the untrained member of a seed."""
        init_key, data_key, test_key = jax.random.split(jax.random.key(seed), 3)
        model = self._new_model(rngs=nnx.Rngs(init_key))
        _, params, rest = nnx.split(model, nnx.Param, ...)
        opt_state = self._optimizer.init(params)
        return Member(params, rest, opt_state, data_key, test_key)

    def model(self, member: Member) -> TanhNet:
        """Returns a member's network."""
        return nnx.merge(self._graph, member.params, member.rest, copy=True)

    def update(self, member: Member, update: jax.Array) -> tuple[Member, jax.Array]:
        """Makes one update; returns the member and its loss before, a scalar."""
        task = self._settings.task
        key = jax.random.fold_in(member.data_key, update)
        batch = task.sample(key, self._settings.batch_size)

        def loss_fn(params: nnx.State) -> jax.Array:
            return task.loss(self.model(member._replace(params=params))(batch), batch)

        loss, grads = jax.value_and_grad(loss_fn)(member.params)
        updates, opt_state = self._optimizer.update(
            grads, member.opt_state, member.params
        )
        member = member._replace(
            params=optax.apply_updates(member.params, updates),
            opt_state=opt_state,
        )
        return member, loss

    def train(
        self, members: Member, start: jax.Array, stop: jax.Array
    ) -> tuple[Member, jax.Array]:
        """Makes the updates start, ..., stop - 1; returns their mean losses [seeds]."""

        def body(i: jax.Array, state: tuple[Member, jax.Array]) -> Any:
            members, total = state
            members, loss = jax.vmap(self.update, in_axes=(0, None))(members, i)
            return members, total + loss

        zeros = jnp.zeros(self._settings.seeds)
        members, total = jax.lax.fori_loop(start, stop, body, (members, zeros))
        return members, total / (stop - start)

    def error(self, member: Member, update: jax.Array) -> jax.Array:
        """Returns the share of wrong answers to fresh sequences, a scalar."""
        task = self._settings.task
        batch_size = math.gcd(task.test_size, _TEST_BATCH)

        def wrong(key: jax.Array) -> jax.Array:
            batch = task.sample(key, batch_size)
            return jnp.mean(task.is_wrong(self.model(member)(batch), batch))

        key = jax.random.fold_in(member.test_key, update)
        keys = jax.random.split(key, task.test_size // batch_size)
        return jnp.mean(jax.lax.map(wrong, keys))
