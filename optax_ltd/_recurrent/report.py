"""What the error signal did along time, layer by layer."""

import dataclasses

import jax
import jax.numpy as jnp

from optax_ltd._recurrent.flow_record import FlowRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerFlow:
    """The error signal along time in one recurrent layer.

    Attributes:
      error_norms: ``[T, B]`` float32, ‖δ_t‖ with δ_t = ∂L/∂h_t of one example.
      gains: ``[T, B]`` float32, ‖δ_t J_t‖ / ‖δ_t‖; 1 where not active.
      active: ``[T, B]`` boolean, whether ‖δ_t‖ is finite, not zero and not masked, and
        what the step passes on is finite.
      clipped: ``[T, B]`` boolean, whether ``carry_clip`` changed δ_t; norms and
        gains are those after the clip.
      dropped_norms: ``[T, B]`` float32, the norm of the error signal that ``truncate``
        kept from the step before, 0 elsewhere. In row 0 that of what the initial carry
        gets, which is lost where the carry comes from an earlier call under
        ``jax.lax.stop_gradient``.
      state_finite: ``[T, B]`` boolean, whether the hidden state after the step is free
        of Inf and NaN.
      omega: scalar float32, Pascanu's Ω in the layer's form and reduction, before
        ``flow_weight``.
    """

    error_norms: jax.Array
    gains: jax.Array
    active: jax.Array
    clipped: jax.Array
    dropped_norms: jax.Array
    state_finite: jax.Array
    omega: jax.Array

    @classmethod
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
            dropped_norms=record.dropped_norms / calls,
            state_finite=record.state_broken == 0,
            omega=record.omega,
        )

    @property
    def active_fraction(self) -> jax.Array:
        """Share of steps and examples that count in Ω, a scalar in [0, 1]."""
        return jnp.mean(self.active, dtype=jnp.float32)

    @property
    def first_nonfinite_state(self) -> jax.Array:
        """``[B]`` int32, the first step after which h is not finite; -1 where none."""
        first = jnp.argmin(self.state_finite, axis=0).astype(jnp.int32)
        return jnp.where(jnp.all(self.state_finite, axis=0), -1, first)

    def horizon(self, share: float = 0.01) -> jax.Array:
        """The lag at which the error signal has fallen below ``share`` of its last.

        Counted backwards from the last step whose ‖δ_t‖ is not zero.

        Args:
          share: between 0 and 1.

        Returns:
          ``[B]`` int32, in steps; the number of steps back to the start of the sequence
          where the signal never falls that low, and 0 where there is none.

        Raises:
          ValueError: if ``share`` is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {share!r}")
        backwards = self.error_norms[::-1]
        started = jnp.cumsum(backwards > 0, axis=0) > 0
        first = jnp.argmax(started, axis=0)
        last_norm = jnp.take_along_axis(backwards, first[None], axis=0)
        lag = jnp.arange(backwards.shape[0]).reshape((-1,) + (1,) * first.ndim) - first
        fallen = started & (backwards < share * last_norm)
        end = jnp.where(jnp.any(started, axis=0), backwards.shape[0] - first, 0)
        return jnp.min(jnp.where(fallen, lag, end), axis=0).astype(jnp.int32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientFlow:
    """What one forward and one backward pass tell of a model's recurrent layers.

    Attributes:
      loss: scalar, the loss at the batch.
      layers: the error signal in each recurrent layer, by the layer's path.
    """

    loss: jax.Array
    layers: dict[str, LayerFlow]
