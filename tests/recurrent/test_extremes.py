"""Vanishing, exploding, absent and non-finite error signals, in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import B, H, T, case, loss_of
from tests.recurrent.oracles import assert_close, assert_equal, finite

Q = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
START = jnp.ones((1, 3), jnp.float32)


def linear(W: Any, h: Any, x: Any) -> Any:
    h = h @ W + x
    return h, h


def _run(W: Any, read: Any, steps: int, **options: Any) -> tuple[Any, ltd.FlowRecord]:
    """∇(L + Ω) − ∇L in W and the record, of a linear net without inputs."""
    inputs = jnp.zeros((steps, 1, 3))

    def loss(W: Any, weight: Any, record: Any) -> Any:
        _, y = ltd.unroll(
            linear,
            W,
            START,
            inputs,
            flow_weight=weight,
            flow_record=record,
            **options,
        )
        return read(y)

    grad = jax.jit(jax.grad(loss, (0, 2)))
    record = ltd.FlowRecord.zeros((steps, 1))
    (on, record), (off, _) = (grad(jnp.float32(W), w, record) for w in (1.0, 0.0))
    return on - off, record


def _closed_form(W: Any, steps: int) -> np.ndarray:
    """∇_W Ω in float64 for a loss that sums the last output."""
    delta, grad = np.ones(3), np.zeros((3, 3))
    for _ in range(steps):
        u = delta @ W.T
        g = np.linalg.norm(u) / np.linalg.norm(delta)
        size = np.linalg.norm(u) * np.linalg.norm(delta)
        grad += 2 * (g - 1) * np.outer(u, delta) / size
        delta = u / np.linalg.norm(u)
    return grad


def _last(y: jax.Array) -> jax.Array:
    return jnp.sum(y[-1])


def test_far_below_the_root_of_the_smallest_float():
    """‖δ‖ falls to 1e-31; its square would be 0 from step 70 back."""
    W = 0.7 * Q
    grad, record = _run(W, _last, 200)
    assert record.error_norms[0, 0] < 1e-30
    np.testing.assert_array_equal(record.active, 1)
    np.testing.assert_allclose(record.gains, 0.7, rtol=1e-5)
    assert float(record.omega) == pytest.approx(200 * 0.3**2, rel=1e-4)
    np.testing.assert_allclose(grad, _closed_form(W, 200), rtol=1e-4, atol=1e-3)


def test_a_signal_that_dies_on_the_way():
    """‖δ‖ falls below the smallest float; what is left of it counts."""
    grad, record = _run(0.4 * Q, _last, 200)
    alive = np.asarray(record.error_norms) > 1e-36
    np.testing.assert_allclose(np.asarray(record.gains)[alive], 0.4, rtol=1e-5)
    assert 80 < alive.sum() < 100
    assert record.active[0, 0] == 0
    assert finite(grad)
    assert finite(record)


def test_a_step_that_passes_nothing_on():
    grad, record = _run(np.zeros((3, 3)), lambda y: jnp.sum(y), T)
    np.testing.assert_array_equal(record.gains, 0)
    np.testing.assert_array_equal(record.active, 1)
    assert float(record.omega) == T
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_steps_without_a_signal_are_left_out(reduction: Any):
    read = lambda y: jnp.sum(y[2])
    _, record = _run(0.5 * Q, read, T, flow_reduction=reduction)
    np.testing.assert_array_equal(record.active[:, 0], np.arange(T) <= 2)
    np.testing.assert_array_equal(record.gains[3:], 0)
    expected = 0.25 * (3 if reduction == "sum" else 1)
    assert float(record.omega) == pytest.approx(expected, rel=1e-5)


def test_no_signal_at_all():
    for reduction in ("sum", "mean"):
        read = lambda y: 0 * jnp.sum(y)
        grad, record = _run(0.5 * Q, read, T, flow_reduction=reduction)
        assert float(record.omega) == 0
        np.testing.assert_array_equal(record.active, 0)
        np.testing.assert_array_equal(grad, 0)


def test_an_exploding_signal():
    """The gradient overflows; what is told of the flow does not."""
    inputs = jnp.zeros((120, 1, 3))

    def loss(W: Any, record: Any) -> Any:
        options: Any = {"flow_weight": 1.0, "flow_record": record}
        _, y = ltd.unroll(linear, W, jnp.zeros((1, 3)), inputs, **options)
        return _last(y)

    record = ltd.FlowRecord.zeros((120, 1))
    _, record = jax.jit(jax.grad(loss, (0, 1)))(jnp.float32(3 * Q), record)
    assert not finite(record.error_norms)
    assert finite((record.gains, record.omega))
    active = np.asarray(record.active[:, 0], bool)
    assert 70 < active.sum() < 90
    np.testing.assert_allclose(record.gains[active], 3, rtol=1e-5)


def test_only_what_is_passed_on_overflows():
    """δ_1 J_1 goes nowhere but into Ω: L's gradient is finite, so is the sum."""

    def loss(W: Any, weight: Any, record: Any) -> Any:
        options: Any = {"flow_weight": weight, "flow_record": record}
        start = jnp.full((1, 3), 1e-3)
        _, y = ltd.unroll(linear, W, start, jnp.zeros((1, 1, 3)), **options)
        return 5e37 * _last(y)

    grad = jax.jit(jax.grad(loss, (0, 2)))
    record = ltd.FlowRecord.zeros((1, 1))
    plain, _ = grad(jnp.eye(3) * 8, 0.0, record)
    both, record = grad(jnp.eye(3) * 8, 1.0, record)
    assert finite(plain)
    assert_equal(both, plain)
    assert float(record.omega) == 0
    assert float(record.active[0, 0]) == 0
    assert jnp.isinf(record.dropped_norms[0, 0])
    assert finite(record._replace(dropped_norms=()))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_signal_that_is_not_finite_beside_the_parameters(bad: float):
    """One example's signal is bad in a carry leaf that no parameter meets."""

    def cell(p: Any, carry: Any, x: Any) -> Any:
        h, s = carry
        h = jnp.tanh(h @ p + x)
        return (h, s + x), h

    c = case("simple")
    inputs = jnp.sin(jnp.arange(T * B * H, dtype=jnp.float32)).reshape(T, B, H)

    def loss(p: Any, weight: Any, record: Any, factor: Any) -> Any:
        options: Any = {"flow_weight": weight, "flow_record": record}
        start = (c.carry, c.carry)
        (_, s), y = ltd.unroll(cell, p, start, inputs, **options)
        return loss_of(y[-1], y) + jnp.sum(factor * s[0])

    grad = jax.jit(jax.grad(loss, (0, 2)))
    record = ltd.FlowRecord.zeros((T, B))
    off, _ = grad(c.params["W"], 0.0, record, bad)
    on, record = grad(c.params["W"], 1.0, record, bad)
    assert finite((off, on, record.gains, record.omega))
    np.testing.assert_array_equal(
        record.active, np.arange(B)[None] > 0 * np.ones((T, 1))
    )
    # The other examples count as they would without it, at 1/B each.
    _, good = grad(c.params["W"], 1.0, ltd.FlowRecord.zeros((T, B)), 0.0)
    assert_close(record.gains[:, 1:], good.gains[:, 1:], 1e-6)


def test_one_step_and_one_example():
    W = 0.5 * Q
    grad, record = _run(W, _last, 1)
    np.testing.assert_allclose(grad, _closed_form(W, 1), rtol=1e-5, atol=1e-6)
    assert record.gains.shape == (1, 1)


def test_no_step_at_all():
    grad, record = _run(0.5 * Q, jnp.sum, 0)
    np.testing.assert_array_equal(grad, 0)
    assert float(record.omega) == 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["simple", "lstm"])
def test_half_precision(name: str, dtype: Any):
    """Gains in float32 from signals in half; gradients in the parameters' dtype."""

    def run(dtype: Any) -> Any:
        c = case(name, dtype)

        def loss(p: Any, record: Any) -> Any:
            options: Any = {"flow_weight": 1.0, "flow_record": record}
            final, y = ltd.unroll(c.cell, p, c.carry, c.inputs, **options)
            return loss_of(*jax.tree.map(lambda x: x.astype(jnp.float32), (final, y)))

        record = ltd.FlowRecord.zeros((T, B))
        return jax.jit(jax.grad(loss, (0, 1)))(c.params, record)

    grads, record = run(dtype)
    expected, wide = run(jnp.float32)
    assert all(g.dtype == dtype for g in jax.tree.leaves(grads))
    assert all(x.dtype == jnp.float32 for x in record)
    # A few units in the last place of half precision, over T steps.
    unit = float(jnp.finfo(dtype).eps)
    assert_close(record, wide, 16 * unit, 4 * unit)
    assert_close(jax.tree.map(jnp.float32, grads), expected, 16 * unit, 16 * unit)


def test_masked_steps_are_left_out():
    mask = jnp.asarray(np.arange(T) < 4)[:, None]
    W = 0.5 * Q
    grad, record = _run(W, _last, T, mask=mask)
    np.testing.assert_array_equal(record.active, mask)
    assert float(record.omega) == pytest.approx(4 * 0.25, rel=1e-5)
    # Here every step has a term of its own; the last two are out.
    whole, head = _closed_form(W, T), _closed_form(W, 2)
    np.testing.assert_allclose(grad, whole - head, rtol=1e-4, atol=1e-6)
    empty, record = _run(W, _last, T, mask=jnp.zeros((T, 1), bool))
    assert_equal((empty, record.omega), (np.zeros((3, 3)), np.zeros(())))
    assert np.all(record.error_norms > 0)
