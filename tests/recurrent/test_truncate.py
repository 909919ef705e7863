"""Truncated back-propagation through time: windows that carry the state alone."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import case
from tests.recurrent.oracles import assert_close

WINDOW = 4
LENGTH = 10


def _case(kind: str) -> Any:
    return case(kind, steps=LENGTH)


def _read(outputs: Any) -> jax.Array:
    return sum((jnp.sum(y**2) for y in jax.tree.leaves(outputs)), jnp.zeros(()))


def _in_windows(made: Any, params: Any, inputs: Any) -> jax.Array:
    """One call after another, the carry between them under `stop_gradient`."""
    carry, total = made.carry, jnp.zeros(())
    for start in range(0, LENGTH, WINDOW):
        carry, outputs = jax.lax.scan(
            lambda h, x: made.cell(params, h, x), carry, inputs[start : start + WINDOW]
        )
        carry = jax.lax.stop_gradient(carry)
        total += _read(outputs)
    return total


def _truncated(made: Any, params: Any, inputs: Any, **options: Any) -> jax.Array:
    options = {"truncate": WINDOW, **options}
    return _read(ltd.unroll(made.cell, params, made.carry, inputs, **options)[1])


@cache
def _by_hand(kind: str) -> Any:
    made = _case(kind)
    gradient = jax.jit(jax.grad(lambda p, x: _in_windows(made, p, x), (0, 1)))
    return gradient(made.params, made.inputs)


@pytest.mark.parametrize(
    ("kind", "watched", "remat"),
    [
        ("lstm", False, False),
        ("lstm", True, True),
        ("both", True, False),
        ("both", False, True),
    ],
)
def test_the_gradient_is_that_of_windows(kind: str, watched: bool, remat: bool):
    made = _case(kind)
    record = ltd.FlowRecord.zeros(made.inputs.shape[:2]) if watched else None

    def loss(params: Any, inputs: Any) -> jax.Array:
        return _truncated(made, params, inputs, flow_record=record, remat=remat)

    ours = jax.jit(jax.grad(loss, (0, 1)))(made.params, made.inputs)
    assert_close(ours, _by_hand(kind), 1e-4, 1e-5)


def test_what_was_dropped_is_told():
    """It is the norm of the gradient that the later windows have at the carry."""
    made = _case("both")

    def from_second_window(carry: Any) -> jax.Array:
        outputs = ltd.unroll(
            made.cell, made.params, carry, made.inputs[WINDOW : 2 * WINDOW]
        )[1]
        return _read(outputs)

    @jax.jit
    def both(record: Any) -> Any:
        carry, _ = ltd.unroll(made.cell, made.params, made.carry, made.inputs[:WINDOW])
        whole = lambda r: _truncated(made, made.params, made.inputs, flow_record=r)
        seen = jax.grad(whole)(record)
        return jax.grad(from_second_window)(carry), seen.dropped_norms

    signal, dropped = both(ltd.FlowRecord.zeros(made.inputs.shape[:2]))
    dropped, expected = np.asarray(dropped), np.linalg.norm(signal, axis=-1)
    assert_close(dropped[WINDOW], expected, 1e-4)
    kept = [t for t in range(LENGTH) if t % WINDOW]
    assert np.all(dropped[kept] == 0)
    assert np.all(dropped[::WINDOW] > 0)


def test_the_first_row_is_what_the_initial_carry_gets():
    made = _case("simple")

    def loss(carry: Any, record: Any) -> jax.Array:
        outputs = ltd.unroll(
            made.cell, made.params, carry, made.inputs, flow_record=record
        )[1]
        return _read(outputs)

    record = ltd.FlowRecord.zeros(made.inputs.shape[:2])
    carry, record = jax.jit(jax.grad(loss, (0, 1)))(made.carry, record)
    dropped = np.asarray(record.dropped_norms)
    assert_close(dropped[0], np.linalg.norm(carry, axis=-1), 1e-4)
    assert np.all(dropped[1:] == 0)


def test_omega_still_sees_every_step():
    made = _case("simple")
    record = ltd.FlowRecord.zeros(made.inputs.shape[:2])
    options: Any = {"flow_weight": 1.0}
    loss = lambda r: _truncated(
        made, made.params, made.inputs, flow_record=r, **options
    )
    seen = jax.jit(jax.grad(loss))(record)
    assert np.all(np.asarray(seen.active) == 1)
    assert np.all(np.asarray(seen.gains) > 0)


def test_forward_mode_stops_as_well():
    made = _case("simple")

    def loss(params: Any) -> jax.Array:
        return _truncated(made, params, made.inputs)

    gradient = jax.jit(jax.grad(loss))(made.params)
    forward = lambda params: jax.jvp(loss, (params,), (params,))[1]
    tangent = jax.jit(forward)(made.params)
    products = jax.tree.map(np.vdot, gradient, made.params)
    assert_close(tangent, sum(jax.tree.leaves(products)), 1e-4)


@pytest.mark.parametrize("bad", [0, -3, 2.5, True, "4"])
def test_a_bad_window(bad: Any):
    made = _case("simple")
    message = f"`truncate` must be None or an int >= 1; got {bad!r}"
    with pytest.raises(ValueError, match=message):
        _truncated(made, made.params, made.inputs, truncate=bad)


def test_where_a_state_breaks():
    def doubling(w: Any, h: Any, x: Any) -> Any:
        h = h * w + x
        return h, h

    lead = (6, 2)
    inputs = np.broadcast_to(np.asarray([[0.0], [1.0]], np.float32), (*lead, 1))

    def loss(record: Any) -> jax.Array:
        out = ltd.unroll(
            doubling, np.float32(1e10), jnp.zeros((2, 1)), inputs, flow_record=record
        )
        return jnp.sum(out[1])

    @jax.jit
    def first_nonfinite(record: Any) -> jax.Array:
        report = ltd.LayerFlow.from_record(jax.grad(loss)(record))
        return report.first_nonfinite_state

    # 1, 1e10, 1e20, 1e30, then beyond float32.
    assert first_nonfinite(ltd.FlowRecord.zeros(lead)).tolist() == [-1, 4]
