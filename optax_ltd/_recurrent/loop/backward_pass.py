"""The backward pass of a recurrent layer: δ by one loop, then everything else at once.

With δ_t = ∂L/∂h_t, u_t = δ_t J_t and w_t = ∂Ω/∂u_t, all held constant, the gradient of
Ω is that of Σ_t ⟨δ_t, ∂f_θ(h_{t-1}, x_t)/∂h · w_t⟩ in θ: one directional derivative of
the cell, differentiated once. For Ω depends on θ through u_t alone,

    dΩ = Σ_t ⟨w_t, du_t⟩,   du_t = δ_t dJ_t,   so dΩ = Σ_t d⟨δ_t, J_t w_t⟩,

where δ_t, h_{t-1} and x_t do not move (Pascanu et al. 2013, section 3.3). J_t w_t is
the tangent that `jax.jvp` gives along w_t. No time order is left in it.

With groups of carry leaves Ω is a sum over groups, and ∂Ω/∂u_t has the leaves of group
k from the term of that group.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from optax_ltd._numerics.example_norms import append_axes, divide
from optax_ltd._numerics.leaves import Leaves, combine, inexact, partition
from optax_ltd._recurrent.flow.information_flow import StepFlow
from optax_ltd._recurrent.groups import Groups
from optax_ltd._recurrent.loop.time_blocks import in_blocks
from optax_ltd._recurrent.loop.time_loop import time_loop
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
    initial, (error, passed_on, past, clipped) = time_loop(
        program,
        body,
        partition(is_hidden, final)[0],
        (carries, stream.ahead, saved, through_outputs, free, stops),
        carries[0].shape[0],
        options.unroll,
        reverse=True,
    )
    past = passed_on if past is None else past
    return initial, Signals(error, passed_on, past, free), clipped


# (constants, ahead, hidden) -> (hidden, side outputs), for all time steps at once.
_Steps: TypeAlias = Callable[[Leaves, Leaves, Leaves], tuple[Leaves, Leaves]]


class Penalty(NamedTuple):
    """What the gradient of Ω needs to know of each step, all held constant.

    Attributes:
      groups: of the leaves of the hidden state.
      flows: of each group norms, gains and activity.
      slopes: of each group ``[T, B]``, from
        :func:`~optax_ltd._recurrent.flow.information_flow.slope`.
    """

    groups: Groups
    flows: list[StepFlow]
    slopes: list[jax.Array]

    def at(self, steps: jax.Array) -> "Penalty":
        """The same at some time steps only."""
        return jax.tree.map(lambda x: x[steps], self)

    def apart(self) -> list["Penalty"]:
        """One for the Ω of each group alone."""
        none = [jnp.zeros_like(slope) for slope in self.slopes]
        return [
            self._replace(slopes=[*none[:k], slope, *none[k + 1 :]])
            for k, slope in enumerate(self.slopes)
        ]

    def at_one_size(self) -> "Penalty":
        """The same Ω, where the leaves of all groups are divided by one size s.

        For ⟨δ_t, J_t w_t⟩ one factor 1/s can move to δ_t, where groups meet, and w_t of
        group k keeps s/‖δ_k‖. With s halfway, in the exponent, between the largest
        ‖δ_k‖ and the smallest that counts, both stay in range as long as any s may.
        """
        if len(self.flows) == 1:
            return self
        sizes = jnp.stack([flow.error_norms for flow in self.flows])
        active = jnp.stack([flow.active for flow in self.flows])
        finite = jnp.isfinite(sizes)
        largest = jnp.max(jnp.where(finite, sizes, 0), axis=0)
        smallest = jnp.min(jnp.where(active, sizes, jnp.inf), axis=0)
        size = jnp.sqrt(largest) * jnp.sqrt(smallest)
        # δ of a group that does not count has a part in δ_t J_t of one that does.
        used = jnp.any(active, axis=0) & finite
        return self._replace(
            flows=[
                flow._replace(error_norms=size, active=u)
                for flow, u in zip(self.flows, used, strict=True)
            ],
            slopes=[
                slope * divide(size, flow.error_norms, flow.active)
                for flow, slope in zip(self.flows, self.slopes, strict=True)
            ],
        )


def loop_cotangents(
    trajectory: Trajectory,
    signals: Signals,
    penalty: Penalty | None = None,
    *,
    with_loss: bool = True,
    hold_slopes: bool = False,
) -> tuple[Stream, Stream]:
    """Cotangents of what the loop read, for all time steps at once.

    Args:
      trajectory: from the forward pass.
      signals: from :func:`error_signals`.
      penalty: what of Ω to add, or None.
      with_loss: whether the second result contains L.
      hold_slopes: whether Ω reads the slopes of the cell as constants.

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
                holds=is_hidden if hold_slopes and penalty is not None else (),
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
    """δ_t / ‖δ_t‖ and w_t, of which ∂Ω/∂θ is that of Σ_t ⟨δ_t / ‖δ_t‖, J_t w_t⟩.

    With groups there is another size in the place of ‖δ_t‖; see `Penalty.at_one_size`.
    """

    unit: Leaves
    along: Leaves

    @classmethod
    def of(cls, signals: Signals, penalty: Penalty, hidden: Leaves) -> "_Pairing":
        # Ω is of the same size whatever ‖δ_t‖ is, so one factor of it moves from w_t to
        # δ_t: neither then leaves its range where δ_t is 1e-30 or 1e30.
        groups, flows, _ = penalty
        _, of_unit, slopes = penalty.at_one_size()
        unit = [
            d.astype(e.dtype)
            for d, e in zip(
                _relative(groups, of_unit, signals.error), signals.error, strict=True
            )
        ]
        passed_on = _relative(groups, flows, signals.passed_on)
        slopes = groups.of_leaves(slopes)
        # JAX pairs cotangents with tangents without a conjugate, hence this one.
        along = [
            (jnp.conj(u) * append_axes(slope, u)).astype(h.dtype)
            for u, slope, h in zip(passed_on, slopes, hidden, strict=True)
        ]
        return cls(unit, along)


def _relative(groups: Groups, flows: list[StepFlow], signals: Leaves) -> Leaves:
    """The leaves of each group over the size that its flow has."""
    parts = zip(flows, groups.split(signals), strict=True)
    return groups.join([flow.relative(part) for flow, part in parts])


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
