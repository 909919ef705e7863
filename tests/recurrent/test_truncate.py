"""Truncated back-propagation through time: windows that carry the state alone."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import case

WINDOW = 4
LENGTH = 10


def _case(kind: str) -> Any:
    made = case(kind)
    shape = (LENGTH, *made.inputs.shape[1:])
    return made._replace(inputs=jax.random.normal(jax.random.key(3), shape))


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


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "both"])
def test_the_gradient_is_that_of_windows(kind: str, watched: bool, remat: bool):
    made = _case(kind)
    record = ltd.FlowRecord.zeros(made.inputs.shape[:2]) if watched else None

    def loss(params: Any, inputs: Any) -> jax.Array:
        return _truncated(made, params, inputs, flow_record=record, remat=remat)

    ours = jax.jit(jax.grad(loss, (0, 1)))(made.params, made.inputs)
    by_hand = jax.jit(jax.grad(lambda p, x: _in_windows(made, p, x), (0, 1)))
    theirs = by_hand(made.params, made.inputs)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert jnp.allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["simple", "both"])
def test_what_was_dropped_is_told(kind: str):
    """It is the norm of the gradient that the later windows have at the carry."""
    made = _case(kind)

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
    expected = jnp.linalg.norm(signal, axis=-1)
    assert jnp.allclose(dropped[WINDOW], expected, rtol=1e-4)
    kept = [t for t in range(LENGTH) if t % WINDOW]
    assert jnp.all(dropped[jnp.array(kept)] == 0)
    assert jnp.all(dropped[::WINDOW] > 0)


def test_the_first_row_is_what_the_initial_carry_gets():
    made = _case("simple")

    def loss(carry: Any, record: Any) -> jax.Array:
        outputs = ltd.unroll(
            made.cell, made.params, carry, made.inputs, flow_record=record
        )[1]
        return _read(outputs)

    record = ltd.FlowRecord.zeros(made.inputs.shape[:2])
    carry, record = jax.jit(jax.grad(loss, (0, 1)))(made.carry, record)
    norms = jnp.linalg.norm(carry, axis=-1)
    assert jnp.allclose(record.dropped_norms[0], norms, rtol=1e-4)
    assert jnp.all(record.dropped_norms[1:] == 0)


def test_omega_still_sees_every_step():
    made = _case("simple")
    record = ltd.FlowRecord.zeros(made.inputs.shape[:2])
    options: Any = {"flow_weight": 1.0}
    loss = lambda r: _truncated(
        made, made.params, made.inputs, flow_record=r, **options
    )
    seen = jax.jit(jax.grad(loss))(record)
    assert jnp.all(seen.active == 1)
    assert jnp.all(seen.gains > 0)


def test_forward_mode_stops_as_well():
    made = _case("simple")

    def loss(params: Any) -> jax.Array:
        return _truncated(made, params, made.inputs)

    gradient = jax.jit(jax.grad(loss))(made.params)
    forward = lambda params: jax.jvp(loss, (params,), (params,))[1]
    tangent = jax.jit(forward)(made.params)
    products = jax.tree.map(jnp.vdot, gradient, made.params)
    assert jnp.allclose(tangent, sum(jax.tree.leaves(products)), rtol=1e-4)


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
    inputs = jnp.zeros((*lead, 1)).at[:, 1].set(1.0)

    def loss(record: Any) -> jax.Array:
        out = ltd.unroll(
            doubling, jnp.asarray(1e10), jnp.zeros((2, 1)), inputs, flow_record=record
        )
        return jnp.sum(out[1])

    seen = jax.jit(jax.grad(loss))(ltd.FlowRecord.zeros(lead))
    report = ltd.LayerFlow.from_record(seen)
    # 1, 1e10, 1e20, 1e30, then beyond float32.
    assert report.first_nonfinite_state.tolist() == [-1, 4]
