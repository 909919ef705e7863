"""The training loop: many updates of all seeds in one compiled call."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from optax_ltd.experiments.parts.network import Network
from optax_ltd.experiments.parts.setup import Setup
from optax_ltd.tasks import Batch, Task

# What is tested at once: sequences whose carries stay in the cache, and time steps of
# all of them, whose outputs stay in memory.
_TEST_BATCH, _TEST_STEPS = 500, 50_000

# No update has this number, so that tests of other lengths draw other sequences than
# tests while training, and flossing others than training.
NO_UPDATE = 2**31 - 1


class Member(NamedTuple):
    """One seed's network in training; a run stacks all of them along axis 0.

    Attributes:
      params: The parameters.
      rest: The network's other variables.
      averaged: Running averages of the parameters, if they are to be tested.
      opt_state: The optimiser's state.
      data_key: Key of the sequences to train on, raw.
      test_key: Key of the sequences to test on, raw.
      flossing_state: The state of the optimiser of flossing, if there is any.
    """

    params: nnx.State
    rest: nnx.State
    averaged: nnx.State | tuple[()]
    opt_state: optax.OptState
    data_key: jax.Array
    test_key: jax.Array
    flossing_state: optax.OptState


class Trainer:
    """The pure functions of one run's training.

    Runs that differ in their methods alone start from the same networks and meet the
    same sequences, for all randomness comes from the seed and the number of the update.
    """

    def __init__(self, setup: Setup, batch_size: int, mesh: jax.sharding.Mesh | None):
        self._setup = setup
        self._batch_size = batch_size
        self._mesh = mesh
        network = nnx.eval_shape(lambda: setup.new_network(rngs=nnx.Rngs(0)))
        self._graph = nnx.split(network)[0]
        self._optimizer = setup.new_optimizer(jax.random.key(0))

    def init(self, seed: jax.typing.ArrayLike) -> Member:
        """Returns the untrained member of a seed."""
        init_key, *keys, noise_key = jax.random.split(jax.random.key(seed), 4)
        network = self._setup.new_network(rngs=nnx.Rngs(init_key))
        _, params, rest = nnx.split(network, nnx.Param, ...)
        opt_state = self._setup.new_optimizer(noise_key).init(params)
        averaged = params if self._setup.config.averaging else ()
        flossing = self._setup.flossing
        flossing_state = () if flossing is None else flossing.optimizer.init(params)
        raw = map(jax.random.key_data, keys)
        return Member(
            params, rest, averaged, opt_state, *raw, flossing_state=flossing_state
        )

    def network(self, member: Member) -> Network:
        """Returns a member's network in training."""
        return nnx.merge(self._graph, member.params, member.rest, copy=True)

    def result(self, member: Member) -> Network:
        """Returns the network that a member has come to: of averages, if they run."""
        if self._setup.config.averaging:
            member = member._replace(params=member.averaged)
        return self.network(member)

    def update(self, member: Member, update: jax.Array) -> tuple[Member, jax.Array]:
        """Makes one update; returns the member and its loss before, a scalar."""
        setup = self._setup
        member = self._flossed(member, update)
        batch = self._spread(
            setup.task.sample(_key(member.data_key, update), self._batch_size)
        )
        weight = None if setup.flow_weight is None else setup.flow_weight(update)

        def loss_fn(params: nnx.State) -> tuple[jax.Array, nnx.State]:
            network = self.network(member._replace(params=params))
            loss = setup.task.loss(network(batch, weight), batch)
            _, _, rest = nnx.split(network, nnx.Param, ...)
            return loss, rest

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, rest), grads = grad_fn(member.params)
        functions = {}
        if setup.objective is not None:
            functions = setup.objective(
                batch, lambda params: self.network(member._replace(params=params))
            )
        updates, opt_state = self._optimizer.update(
            grads, member.opt_state, member.params, **functions
        )
        params = optax.apply_updates(member.params, updates)
        after = member._replace(
            params=params,
            rest=rest,
            averaged=self._averaged(member.averaged, params, update),
            opt_state=opt_state,
        )
        return after, loss

    def _averaged(self, averaged: Any, params: optax.Params, update: jax.Array) -> Any:
        """Running averages after an update, at first plain means of all so far."""
        if not self._setup.config.averaging:
            return averaged
        share = jnp.maximum(1 - self._setup.config.averaging, 1 / (update + 1))
        return optax.incremental_update(params, averaged, share)

    def _flossed(self, member: Member, update: jax.Array) -> Member:
        """The member after the phase of flossing that comes first, if one does."""
        flossing = self._setup.flossing
        if flossing is None:
            return member
        key = jax.random.fold_in(_key(member.data_key, NO_UPDATE), update)

        def network(params: nnx.State) -> Network:
            return self.network(member._replace(params=params))

        def phase(params: nnx.State, state: optax.OptState) -> Any:
            return flossing.phase(params, state, key, network)

        params, state = jax.lax.cond(
            flossing.is_due(update),
            phase,
            lambda *as_they_are: as_they_are,
            member.params,
            member.flossing_state,
        )
        return member._replace(params=params, flossing_state=state)

    def train(
        self, members: Member, start: jax.Array, stop: jax.Array
    ) -> tuple[Member, jax.Array]:
        """Makes the updates start, ..., stop - 1; returns their mean losses [seeds]."""

        # Both ends are traced, so that one program serves from every test to the next.
        def body(i: jax.Array, state: tuple[Member, jax.Array]) -> Any:
            members, total = state
            members, loss = self._updates(members, i)
            return members, total + loss

        zeros = jnp.zeros(members.data_key.shape[0])
        members, total = jax.lax.fori_loop(start, stop, body, (members, zeros))
        return members, total / (stop - start)

    def _updates(self, members: Member, update: jax.Array) -> tuple[Member, jax.Array]:
        """The next update of every member, and their losses before [seeds]."""
        if self._setup.objective is not None and self._mesh is None:
            # Side by side all would wait for the one that searches longest.
            return jax.lax.map(lambda member: self.update(member, update), members)
        axis = None if self._mesh is None else "seeds"
        side_by_side = jax.vmap(self.update, in_axes=(0, None), spmd_axis_name=axis)
        return side_by_side(members, update)

    def test(
        self, member: Member, update: jax.Array, task: Task
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        """Returns loss, count of wrong answers and mean measures on fresh sequences."""
        size = min(task.test_size, _TEST_BATCH, max(1, _TEST_STEPS // task.time))

        def score(key: jax.Array) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
            batch = task.sample(key, size)
            outputs = self.result(member)(batch)
            measures = {name: of(outputs, batch) for name, of in task.measures.items()}
            return task.loss(outputs, batch), task.is_wrong(outputs, batch), measures

        # As many batches as hold all sequences; of the last, the first ones count. The
        # loss is the mean of all that are drawn.
        count = -(-task.test_size // size)
        keys = jax.random.split(_key(member.test_key, update), count)
        loss, wrong, measures = jax.lax.map(score, keys)
        wrong, measures = jax.tree.map(
            lambda leaf: leaf.reshape(-1)[: task.test_size], (wrong, measures)
        )
        return jnp.mean(loss), jnp.sum(wrong), jax.tree.map(jnp.mean, measures)

    def _spread(self, batch: Batch) -> Batch:
        """Has the devices along the axis ``batch`` of the mesh share the batch."""
        if self._mesh is None:
            return batch
        spread = jax.sharding.NamedSharding(
            self._mesh, jax.sharding.PartitionSpec("batch")
        )
        return jax.lax.with_sharding_constraint(batch, spread)


def _key(raw: jax.Array, number: jax.typing.ArrayLike) -> jax.Array:
    return jax.random.fold_in(jax.random.wrap_key_data(raw), number)
