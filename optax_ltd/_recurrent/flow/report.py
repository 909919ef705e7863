"""What the error signal did along time, layer by layer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import check_number
from optax_ltd._recurrent.flow.record import FlowRecord, FlowRecords


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerFlow:
    """The error signal along time in one recurrent layer.

    Steps count from 0 in the order in which the layer takes them: with ``reverse`` the
    first row is of the end of the sequence. With ``flow_groups`` this is of one group
    of carry leaves; only ``clipped`` and ``cut`` are of all leaves together.

    Attributes:
      error_norms: ``[T, B]`` float32, ‖δ_t‖ with δ_t = ∂L/∂h_t of one example.
      gains: ``[T, B]`` float32, ‖δ_t J_t‖ / ‖δ_t‖; 1 where not active.
      active: ``[T, B]`` boolean, whether ‖δ_t‖ is finite, not zero and not masked, and
        what the step passes on is finite.
      clipped: ``[T, B]`` boolean, whether ``carry_clip`` changed δ_t; norms and
        gains are those after the clip.
      cut: ``[T, B]`` boolean, whether the step hands nothing to the one before, because
        of ``truncate`` or of a reset.
      dropped_norms: ``[T, B]`` float32, the norm of the error signal that ``truncate``
        kept from the step before, 0 elsewhere. In row 0 that of what the initial carry
        gets, which is lost where the carry comes from an earlier call under
        ``jax.lax.stop_gradient``.
      state_finite: ``[T, B]`` boolean, whether the hidden state after the step is free
        of Inf and NaN.
      omega: scalar float32, Pascanu's Ω in the layer's form and reduction, before
        ``flow_weight``.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> half = ltd.initializers.identity(0.5)
      >>> cell = nnx.SimpleCell(3, 8, recurrent_kernel_init=half, rngs=nnx.Rngs(0))
      >>> loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
      >>> x = jnp.zeros((2, 10, 3))
      >>> flow = ltd.gradient_flow(loss_fn, ltd.FlowRNN(cell), x).layers[""]
      >>> flow.horizon(0.1), flow.first_nonfinite
      (Array([4, 4], dtype=int32), Array([-1, -1], dtype=int32))
    """

    error_norms: jax.Array
    gains: jax.Array
    active: jax.Array
    clipped: jax.Array
    cut: jax.Array
    dropped_norms: jax.Array
    state_finite: jax.Array
    omega: jax.Array

    # Here and below, one program outside of `jit` too, not one for each operation.
    @classmethod
    @functools.partial(jax.jit, static_argnums=0)
    def from_record(cls, record: FlowRecord) -> "LayerFlow":
        """The report of one backward pass; calls of a shared layer are averaged."""
        active = record.active > 0
        gains = jnp.where(active, record.gains / jnp.maximum(record.active, 1), 1)
        calls = jnp.maximum(record.calls, 1)
        return cls(
            error_norms=record.error_norms / calls,
            gains=gains,
            active=active,
            clipped=record.clipped > 0,
            cut=record.cut > 0,
            dropped_norms=record.dropped_norms / calls,
            state_finite=record.state_broken == 0,
            omega=record.omega,
        )

    @property
    def active_fraction(self) -> jax.Array:
        """Share of steps and examples that count in Ω, a scalar in [0, 1]."""
        return jnp.mean(self.active, dtype=jnp.float32)

    @property
    @jax.jit
    def first_nonfinite_state(self) -> jax.Array:
        """Where the hidden state, followed from the beginning, first is not finite.

        ``[B]`` int32: the first step after which it holds an Inf or a NaN; -1 where
        none does.
        """
        first = jnp.argmin(self.state_finite, axis=0).astype(jnp.int32)
        return jnp.where(jnp.all(self.state_finite, axis=0), -1, first)

    @property
    @jax.jit
    def first_nonfinite(self) -> jax.Array:
        """Where ‖δ_t‖, followed back from the end, first is Inf or NaN.

        ``[B]`` int32: the index of that step, the largest such t; -1 where all are
        finite.
        """
        bad = ~jnp.isfinite(self.error_norms)
        steps = jnp.arange(len(bad), dtype=jnp.int32)
        steps = steps.reshape((-1,) + (1,) * (bad.ndim - 1))
        return jnp.max(jnp.where(bad, steps, -1), axis=0)

    @property
    @jax.jit
    def retained(self) -> jax.Array:
        """The share of one step's error signal that is left at each step before it.

        ``[T, B]`` float32: 1 at the last step whose ‖δ_t‖ is not zero, before it the
        product of the gains on the way back, and 0 behind a cut; NaN after it. Where
        the loss reads every step, ‖δ_t‖ is that of all later losses together and stays
        large though each of them is soon lost; the gains tell how soon. They are exact
        where the loss reads one step, and otherwise those of the sum.
        """
        gains, started = self.gains[::-1], self._started()
        # The step where a signal arrives has not yet passed it on.
        before = jnp.concatenate([jnp.zeros_like(started[:1]), started[:-1]])
        passed = jnp.where(self.cut[::-1], 0, gains)[:-1]
        passed = jnp.concatenate([jnp.ones_like(gains[:1]), passed])
        shares = jnp.exp(jnp.cumsum(jnp.where(before, jnp.log(passed), 0), axis=0))
        return jnp.where(started, shares, jnp.nan)[::-1]

    def horizon(self, share: float = 0.01) -> jax.Array:
        """The lag at which one step's error signal is lost: below ``share`` of it.

        Counted backwards from the last step whose ‖δ_t‖ is not zero. A signal is lost
        where :attr:`retained` or ‖δ_t‖ itself has fallen so far, at a cut, and
        where ‖δ_t‖ is Inf or NaN.

        Args:
          share: between 0 and 1.

        Returns:
          ``[B]`` int32, in steps; the number of steps back to the start of the sequence
          where the signal is never lost, and 0 where there is none.

        Raises:
          ValueError: if ``share`` is not between 0 and 1.
        """
        check_number("share", share, above=0, below=1)
        return self._lag_below(share)

    @jax.jit
    def _lag_below(self, share: float) -> jax.Array:
        backwards, started = self.error_norms[::-1], self._started()
        first = jnp.argmax(started, axis=0)
        last_norm = jnp.take_along_axis(backwards, first[None], axis=0)
        lag = jnp.arange(backwards.shape[0]).reshape((-1,) + (1,) * first.ndim) - first
        lost = (backwards < share * last_norm) | ~jnp.isfinite(backwards)
        lost |= self.retained[::-1] < share
        end = jnp.where(jnp.any(started, axis=0), backwards.shape[0] - first, 0)
        return jnp.min(jnp.where(started & lost, lag, end), axis=0).astype(jnp.int32)

    def _started(self) -> jax.Array:
        """``[T, B]`` from the end: whether the loss has been seen there or later."""
        return jnp.cumsum(self.error_norms[::-1] != 0, axis=0) > 0


def layer_flows(path: str, records: FlowRecords) -> dict[str, LayerFlow]:
    """The report of a layer by its path, or those of its groups by path and name."""
    if isinstance(records, FlowRecord):
        return {path: LayerFlow.from_record(records)}
    return {
        f"{path}/{name}" if path else name: LayerFlow.from_record(record)
        for name, record in records.items()
    }


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientFlow:
    """What one forward and one backward pass tell of a model's recurrent layers.

    Attributes:
      loss: scalar, the loss at the batch.
      layers: the error signal in each recurrent layer, ``[T, B]``, by the layer's path;
        with ``flow_groups`` in each group, by path and name: ``"rnn/membrane"``.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> rngs = nnx.Rngs(0)
      >>> model = nnx.Sequential(
      ...     ltd.FlowRNN(nnx.GRUCell(3, 8, rngs=rngs)),
      ...     ltd.FlowRNN(nnx.GRUCell(8, 8, rngs=rngs)),
      ... )
      >>> loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
      >>> report = ltd.gradient_flow(loss_fn, model, jnp.ones((2, 10, 3)))
      >>> {path: flow.gains.shape for path, flow in report.layers.items()}
      {'layers/0': (10, 2), 'layers/1': (10, 2)}
    """

    loss: jax.Array
    layers: dict[str, LayerFlow]
