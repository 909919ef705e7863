"""The backward pass of a recurrent layer: δ by one loop, then everything else at once.

With δ_t = ∂L/∂h_t, u_t = δ_t J_t and w_t = ∂Ω/∂u_t, all held constant, the gradient of
Ω is that of Σ_t ⟨δ_t, ∂f_θ(h_{t-1}, x_t)/∂h · w_t⟩ in θ: one directional derivative of
the cell, differentiated once. For Ω depends on θ through u_t alone,

    dΩ = Σ_t ⟨w_t, du_t⟩,   du_t = δ_t dJ_t,   so dΩ = Σ_t d⟨δ_t, J_t w_t⟩,

where δ_t, h_{t-1} and x_t do not move (Pascanu et al. 2013, section 3.3). J_t w_t is
the tangent that `jax.jvp` gives along w_t. No time order is left in it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from optax_ltd._numerics.example_norms import append_axes
from optax_ltd._numerics.leaves import Leaves, combine, inexact, partition
from optax_ltd._recurrent.flow.information_flow import StepFlow
from optax_ltd._recurrent.loop.time_blocks import in_blocks
from optax_ltd._recurrent.loop.trajectory import Stream, Trajectory
from optax_ltd._recurrent.loop.truncation import stopped
from optax_ltd._recurrent.options import Options


class Signals(NamedTuple):
    """Over time, what the backward pass sends along.

    Attributes:
      error: δ_t.
      passed_on: δ_t J_t.
      past: what step t sends to the carry before it: δ_t J_t, and what the loss reads
        through outputs beside the carry.
      free: the cotangents of those outputs.
    """

    error: Leaves
    passed_on: Leaves
    past: Leaves
    free: Leaves

    def at(self, steps: jax.Array) -> "Signals":
        """The same at some time steps only."""
        return jax.tree.map(lambda x: x[steps], self)


def error_signals(
    trajectory: Trajectory,
    final: Leaves,
    outputs: Leaves,
    num_batch_dims: int,
    options: Options,
    stops: jax.Array | None,
) -> tuple[Leaves, Signals, jax.Array | None]:
    """Back-propagates through time, for the hidden states only.

    Args:
      trajectory: from the forward pass.
      final: cotangents of the final carry leaves.
      outputs: cotangents of the outputs over time.
      num_batch_dims: how many axes after time are batch.
      options: of the layer: what bounds δ_t, and the steps unrolled.
      stops: ``[T]``, the steps that hand nothing to the step before, or None.

    Returns:
      The cotangents of the initial hidden state, the signals of every step, and which
      steps were clipped, ``[T, *batch]``, or None without a clip.
    """
    program, is_hidden, stream, carries, saved = trajectory
    free = trajectory.side_outputs(outputs)

    def body(future: Leaves, at: tuple[Any, ...]) -> tuple[Leaves, tuple]:
        carry, ahead, saved, read, free, stop = at
        hidden, rest = partition(is_hidden, carry)

        def step(hidden: Leaves) -> tuple[Leaves, Leaves]:
            old = combine(is_hidden, hidden, rest)
            return trajectory.moving(*program.step(stream.constants, old, ahead, saved))

        error = [f if r is None else f + r for f, r in zip(future, read, strict=True)]
        clipped = None
        if options.carry_clip is not None:
            error, clipped = options.carry_clip(error, num_batch_dims)
        _, back = jax.vjp(step, hidden)
        (past,) = back((error, free))
        handed_on = past
        if stop is not None:
            handed_on = stopped(stop, past)
        if not free:
            return handed_on, (error, past, None, clipped)
        # What L reads through a side output is no part of δ_t, so u_t is without it.
        passed_on = back((error, jax.tree.map(jnp.zeros_like, free)))[0]
        return handed_on, (error, passed_on, past, clipped)

    through_outputs = trajectory.through_outputs(outputs)
    initial, (error, passed_on, past, clipped) = jax.lax.scan(
        body,
        partition(is_hidden, final)[0],
        (carries, stream.ahead, saved, through_outputs, free, stops),
        reverse=True,
        unroll=options.unroll,
    )
    past = passed_on if past is None else past
    return initial, Signals(error, passed_on, past, free), clipped


# (constants, ahead, hidden) -> (hidden, side outputs), for all time steps at once.
_Steps: TypeAlias = Callable[[Leaves, Leaves, Leaves], tuple[Leaves, Leaves]]


class Penalty(NamedTuple):
    """What the gradient of Ω needs to know of each step, all held constant.

    Attributes:
      flow: norms, gains and activity.
      slope: ``[T, B]``, from :func:`~optax_ltd._recurrent.flow.information_flow.slope`.
    """

    flow: StepFlow
    slope: jax.Array

    def at(self, steps: jax.Array) -> "Penalty":
        """The same at some time steps only."""
        return jax.tree.map(lambda x: x[steps], self)


def loop_cotangents(
    trajectory: Trajectory,
    signals: Signals,
    penalty: Penalty | None = None,
    *,
    with_loss: bool = True,
) -> tuple[Stream, Stream]:
    """Cotangents of what the loop read, for all time steps at once.

    Args:
      trajectory: from the forward pass.
      signals: from :func:`error_signals`.
      penalty: what of Ω to add, or None.
      with_loss: whether the second result contains L.

    Returns:
      The cotangents of L, and of L + weight · Ω or of weight · Ω alone; None for leaves
      without a gradient.
    """
    program, is_hidden, stream, carries, saved = trajectory
    flags = [inexact(part) for part in stream]
    constants, held = partition(flags[0], stream.constants)

    def at_once(timed: Any) -> tuple[Any, Any]:
        ahead, carries, saved, signals, penalty = timed
        ahead, held_ahead = partition(flags[1], ahead)
        hidden, rest = partition(is_hidden, carries)

        def steps(constants: Leaves, ahead: Leaves, hidden: Leaves) -> Any:
            stepped = program.over_time(
                combine(flags[0], constants, held),
                combine(is_hidden, hidden, rest),
                combine(flags[1], ahead, held_ahead),
                saved,
            )
            return trajectory.moving(*stepped)

        linearise = _by_forward_mode if program.has_forward_mode else _by_reverse_mode
        value, of_penalty = linearise(steps, hidden, signals, penalty)
        # One linearisation, pulled back twice: at (δ, 0) for L, at (δ, δ/‖δ‖) for both.
        # It is linear, so what the two share is computed once.
        pull = jax.vjp(value, constants, ahead)[1]
        of_loss = (signals.error, signals.free)
        nothing = jax.tree.map(jnp.zeros_like, (of_loss, of_penalty))
        plain = pull((of_loss, nothing[1]))
        both = pull((of_loss if with_loss else nothing[0], of_penalty))
        return (plain[0], both[0]), (plain[1], both[1])

    timed = (stream.ahead, carries, saved, signals, penalty)
    constants, ahead = in_blocks(at_once, timed)
    plain, both = (
        Stream(*(combine(f, ct, [None] * f.count(False)) for f, ct in of))
        for of in (
            zip(flags, cts, strict=True) for cts in zip(constants, ahead, strict=True)
        )
    )
    return plain, both


class _Pairing(NamedTuple):
    """δ_t / ‖δ_t‖ and w_t, of which ∂Ω/∂θ is that of Σ_t ⟨δ_t / ‖δ_t‖, J_t w_t⟩."""

    unit: Leaves
    along: Leaves

    @classmethod
    def of(cls, signals: Signals, penalty: Penalty, hidden: Leaves) -> "_Pairing":
        # Ω is of the same size whatever ‖δ_t‖ is, so one factor of it moves from w_t to
        # δ_t: neither then leaves its range where δ_t is 1e-30 or 1e30.
        relative = penalty.flow.relative
        unit = [
            d.astype(e.dtype)
            for d, e in zip(relative(signals.error), signals.error, strict=True)
        ]
        # JAX pairs cotangents with tangents without a conjugate, hence this one.
        along = [
            (jnp.conj(u) * append_axes(penalty.slope, u)).astype(h.dtype)
            for u, h in zip(relative(signals.passed_on), hidden, strict=True)
        ]
        return cls(unit, along)


def _by_forward_mode(
    steps: _Steps, hidden: Leaves, signals: Signals, penalty: Penalty | None
) -> tuple[Callable[..., Any], Leaves]:
    """(f, J w) as a function of constants and ahead, and the cotangent of J w."""
    if penalty is None:
        return lambda constants, ahead: (steps(constants, ahead, hidden), []), []
    pairing = _Pairing.of(signals, penalty, hidden)

    def value(constants: Leaves, ahead: Leaves) -> tuple[Any, Leaves]:
        at = partial(steps, constants, ahead)
        out, (tangent, _) = jax.jvp(at, (hidden,), (pairing.along,))
        return out, tangent

    return value, pairing.unit


def _by_reverse_mode(
    steps: _Steps, hidden: Leaves, signals: Signals, penalty: Penalty | None
) -> tuple[Callable[..., Any], Leaves]:
    """(f, Σ ⟨δ J, w⟩), for cells with a reverse mode of their own.

    A `jax.custom_vjp` has no tangent, but ⟨δ, J w⟩ = ⟨δ J, w⟩, and its left side is the
    product that reverse mode gives.
    """
    if penalty is None:
        return _by_forward_mode(steps, hidden, signals, None)
    pairing = _Pairing.of(signals, penalty, hidden)
    wide = jnp.result_type(float)
    no_side = jax.tree.map(jnp.zeros_like, signals.free)

    def value(constants: Leaves, ahead: Leaves) -> tuple[Any, Leaves]:
        out, back = jax.vjp(partial(steps, constants, ahead), hidden)
        (passed_on,) = back((pairing.unit, no_side))
        products = jax.tree.map(jnp.multiply, passed_on, pairing.along)
        return out, [sum(jnp.sum(p.real, dtype=wide) for p in products)]

    return value, [jnp.ones((), wide)]
