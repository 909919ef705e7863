"""A scan over a cell whose backward pass adds the gradient of Ω.

With δ_t = ∂L/∂h_t, u_t = δ_t J_t and w_t = ∂Ω/∂u_t, all held constant, the gradient of
Ω is that of Σ_t ⟨δ_t, ∂f_θ(h_{t-1}, x_t)/∂h · w_t⟩ in θ: one directional derivative of
the cell, differentiated once. The loop over time runs forward once and backward once;
everything else is one batched evaluation over all time steps.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._recurrent import information_flow, leaves
from optax_ltd._recurrent.cell_program import CellProgram
from optax_ltd._recurrent.differentiation_guards import first_order_only, reverse_only
from optax_ltd._recurrent.equations import Leaves
from optax_ltd._recurrent.flow_record import FlowRecord


@dataclasses.dataclass(frozen=True)
class FlowOptions:
    """The static choices of a scan with Ω.

    Attributes:
      form: ``"ratio"`` or ``"squared_ratio"``.
      reduction: ``"sum"`` or ``"mean"`` over time.
      num_batch_dims: how many axes after time are batch.
      unroll: steps unrolled in each loop.
    """

    form: information_flow.FlowForm
    reduction: information_flow.FlowReduction
    num_batch_dims: int
    unroll: int


class Stream(NamedTuple):
    """The loop's reads of parameters and inputs, as one differentiable path."""

    constants: Leaves
    ahead: Leaves


def flow_scan(
    program: CellProgram,
    flows: leaves.Flags,
    options: FlowOptions,
    regularised: Stream,
    plain: Stream,
    carry: Leaves,
    weight: jax.Array | None,
    mask: jax.Array | None,
    record: FlowRecord | None,
) -> tuple[Leaves, Leaves]:
    """Scans the cell over time.

    Args:
      program: the cell.
      flows: which carry leaves belong to the hidden state h; the others are handed on
        without a gradient.
      options: static choices.
      regularised: what the loop reads; its cotangent is that of L + weight · Ω.
      plain: the same values; its cotangent is that of L alone, and nothing is counted
        twice as long as each input of the network reaches only one of the two.
      carry: initial carry leaves.
      weight: scalar, or None for a record without Ω.
      mask: ``[T, B]`` or None, the steps that count in Ω.
      record: zeros whose cotangent is what the backward pass saw, or None.

    Returns:
      Final carry leaves, and outputs stacked over time.
    """
    guarded = jax.tree.map(_guard, (regularised, plain, carry))
    run = _make(program, flows, options)
    return run(*guarded, weight, mask, record)


def _guard(x: Any) -> Any:
    return reverse_only(x) if jnp.issubdtype(x.dtype, jnp.inexact) else x


class _Residuals(NamedTuple):
    stream: Stream
    carries: Leaves
    saved: Leaves
    weight: jax.Array | None
    mask: jax.Array | None
    record: FlowRecord | None


class _Signals(NamedTuple):
    """Stacked over time: δ_t, δ_t J_t and the cotangents of the free outputs."""

    error: Leaves
    passed_on: Leaves
    free: Leaves


def _make(program: CellProgram, flows: leaves.Flags, options: FlowOptions) -> Any:
    @jax.custom_vjp
    def run(regularised, plain, carry, weight, mask, record):
        del plain, weight, mask, record
        (final, outputs, _, _) = _forward(program, options, regularised, carry)
        return final, outputs

    def forward(regularised, plain, carry, weight, mask, record):
        del plain
        final, outputs, carries, saved = _forward(program, options, regularised, carry)
        residuals = _Residuals(regularised, carries, saved, weight, mask, record)
        return (final, outputs), residuals

    def backward(residuals, cotangents):
        return _Backward(program, flows, options, residuals)(cotangents)

    run.defvjp(forward, backward)
    return run


def _forward(
    program: CellProgram, options: FlowOptions, stream: Stream, carry: Leaves
) -> tuple[Leaves, Leaves, Leaves, Leaves]:
    """Final carry; outputs, carries before each step and saved values over time."""

    def body(carry: Leaves, ahead: Leaves) -> Any:
        new, outputs, saved = program.step_and_save(stream.constants, carry, ahead)
        return new, (outputs, carry, saved)

    final, (outputs, carries, saved) = jax.lax.scan(
        body, carry, stream.ahead, length=None, unroll=options.unroll
    )
    return final, outputs, carries, saved


class _Backward:
    """The backward pass: δ by one loop, then every parameter gradient at once."""

    def __init__(
        self,
        program: CellProgram,
        flows: leaves.Flags,
        options: FlowOptions,
        residuals: _Residuals,
    ):
        self.program, self.flows, self.options = program, flows, options
        self.stream = residuals.stream
        self.carries, self.saved = residuals.carries, residuals.saved
        self.weight, self.mask = residuals.weight, residuals.mask
        self.record = residuals.record
        self.constants_flags = leaves.inexact(self.stream.constants)
        self.ahead_flags = leaves.inexact(self.stream.ahead)

    def __call__(self, cotangents: Any) -> tuple[Any, ...]:
        initial, signals = self.error_signals(*cotangents)
        flow = information_flow.measure(
            signals.error, signals.passed_on, self.mask, self.options.num_batch_dims
        )
        plain = self.parameter_cotangents(signals, None, None)
        if self.weight is None:
            regularised = plain
        else:
            scale = self.weight * information_flow.term_weight(
                flow.active, self.options.reduction, self.options.num_batch_dims
            )
            steering = information_flow.steer(flow, self.options.form, scale)
            regularised = self.parameter_cotangents(signals, flow.direction, steering)
        initial = leaves.combine(self.flows, initial, [None] * self.flows.count(False))
        out = jax.tree.map(first_order_only, (regularised, plain, initial))
        weight = None if self.weight is None else jnp.zeros_like(self.weight)
        return (*out, weight, None, self._record(flow))

    def _record(self, flow: information_flow.StepFlow) -> FlowRecord | None:
        if self.record is None:
            return None
        omega = information_flow.penalty(
            flow.gains,
            flow.active,
            self.options.form,
            self.options.reduction,
            self.options.num_batch_dims,
        )
        gains = jnp.where(flow.active, flow.gains, 0)
        seen = FlowRecord(flow.error_norms, gains, flow.active, omega)
        return jax.tree.map(lambda x: x.astype(jnp.float32), seen)

    def step(
        self, flowing: Leaves, constants: Leaves, ahead: Leaves, rest: Any
    ) -> tuple[Leaves, Leaves]:
        """The cell at one time step as a function of everything differentiable.

        Returns the new hidden state, and the outputs that are not part of the carry.
        """
        rest_constants, rest_ahead, rest_carry, saved = rest
        carry, outputs = self.program.step(
            leaves.combine(self.constants_flags, constants, rest_constants),
            leaves.combine(self.flows, flowing, rest_carry),
            leaves.combine(self.ahead_flags, ahead, rest_ahead),
            saved,
        )
        return leaves.partition(self.flows, carry)[0], self.free(outputs)

    def free(self, outputs: Leaves) -> Leaves:
        """The differentiable output leaves that are no hidden state."""
        return [
            y
            for y, i in zip(outputs, self.program.output_is_carry, strict=True)
            if jnp.issubdtype(y.dtype, jnp.inexact) and not self._hidden(i)
        ]

    def _hidden(self, index: int | None) -> bool:
        return index is not None and self.flows[index]

    def parted(self) -> tuple[Leaves, Leaves, Leaves, Any, Any]:
        """Hidden states, constants, ahead, all that has no gradient, and its axes."""
        constants, rest_constants = leaves.partition(
            self.constants_flags, self.stream.constants
        )
        ahead, rest_ahead = leaves.partition(self.ahead_flags, self.stream.ahead)
        flowing, rest_carry = leaves.partition(self.flows, self.carries)
        rest = (rest_constants, rest_ahead, rest_carry, self.saved)
        return flowing, constants, ahead, rest, (None, 0, 0, 0)

    def error_signals(self, final: Leaves, outputs: Leaves) -> tuple[Leaves, _Signals]:
        """The cotangent of the initial hidden state, and the signals of every step."""
        flowing, constants, ahead, rest, _ = self.parted()
        final = leaves.partition(self.flows, final)[0]
        to_hidden = self.read_through_outputs(outputs)
        free = self.free(outputs)

        def body(future: Leaves, at: Any) -> Any:
            flowing, ahead, rest, to_hidden, free = at
            error = [
                f if r is None else f + r
                for f, r in zip(future, to_hidden, strict=True)
            ]
            rest = (self.constant_rest(), *rest)
            back = jax.vjp(
                partial(self.step, constants=constants, ahead=ahead, rest=rest), flowing
            )[1]
            (past,) = back((error, free))
            if not free:
                return past, (error, past)
            (passed_on,) = back((error, jax.tree.map(jnp.zeros_like, free)))
            return past, (error, passed_on)

        initial, (error, passed_on) = jax.lax.scan(
            body,
            final,
            (flowing, ahead, rest[1:], to_hidden, free),
            reverse=True,
            unroll=self.options.unroll,
        )
        return initial, _Signals(error, passed_on, free)

    def constant_rest(self) -> Leaves:
        return leaves.partition(self.constants_flags, self.stream.constants)[1]

    def read_through_outputs(self, outputs: Leaves) -> list[Any]:
        """What the loss reads of each hidden leaf through the outputs, or None."""
        read: list[Any] = [None] * len(self.flows)
        for y, i in zip(outputs, self.program.output_is_carry, strict=True):
            if i is not None and self.flows[i]:
                read[i] = y if read[i] is None else read[i] + y
        return leaves.partition(self.flows, read)[0]

    def parameter_cotangents(
        self, signals: _Signals, direction: Leaves | None, steering: Leaves | None
    ) -> Stream:
        """Cotangents of L, or of L + weight · Ω, for all time steps at once."""
        flowing, constants, ahead, rest, rest_axes = self.parted()

        def value(constants: Leaves, ahead: Leaves) -> Any:
            def one(flowing: Leaves, ahead: Leaves, rest: Any, steering: Any) -> Any:
                at = partial(self.step, constants=constants, ahead=ahead, rest=rest)
                if steering is None:
                    return at(flowing), []
                like = [
                    s.astype(h.dtype) for s, h in zip(steering, flowing, strict=True)
                ]
                out, (tangent, _) = jax.jvp(at, (flowing,), (like,))
                return out, tangent

            return jax.vmap(one, in_axes=(0, 0, rest_axes, 0))(
                flowing, ahead, rest, steering
            )

        (_, tangent), back = jax.vjp(value, constants, ahead)
        along = [
            d.astype(t.dtype) for d, t in zip(direction or [], tangent, strict=True)
        ]
        constants, ahead = back(((signals.error, signals.free), along))
        return Stream(
            leaves.combine(
                self.constants_flags,
                constants,
                [None] * self.constants_flags.count(False),
            ),
            leaves.combine(
                self.ahead_flags, ahead, [None] * self.ahead_flags.count(False)
            ),
        )
