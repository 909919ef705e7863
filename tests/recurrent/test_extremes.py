"""Vanishing, exploding, absent and non-finite error signals, in float32."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import B, H, T, case, loss_of
from tests.recurrent.oracles import assert_close, assert_equal, finite

Q = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
# How much the loss reads of the output at each step.
ALL, THIRD, LAST, NONE = np.ones(T), np.eye(T)[2], np.eye(T)[-1], np.zeros(T)


def linear(W: Any, h: Any, x: Any) -> Any:
    h = h @ W + x
    return h, h


@cache
def _gradient(reduction: Any) -> Any:
    """In W and the record, of a linear net without inputs."""

    def loss(W: Any, weight: Any, record: Any, read: Any, mask: Any) -> Any:
        _, y = ltd.unroll(
            linear,
            W,
            jnp.ones((1, 3)),
            jnp.zeros((len(read), 1, 3)),
            flow_weight=weight,
            flow_record=record,
            flow_reduction=reduction,
            mask=mask,
        )
        return jnp.sum(read[:, None, None] * y)

    return jax.jit(jax.grad(loss, (0, 2)))


def _run(
    W: Any, read: Any, reduction: str = "sum", mask: Any = None
) -> tuple[Any, ltd.FlowRecord]:
    """∇(L + Ω) − ∇L in W and the record."""
    grad, zeros = _gradient(reduction), ltd.FlowRecord.zeros((len(read), 1))
    (on, record), (off, _) = (
        grad(W, weight, zeros, read, mask) for weight in (1.0, 0.0)
    )
    return np.subtract(on, off), record


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
    grad, record = _run(W, np.eye(200)[-1])
    assert record.error_norms[0, 0] < 1e-30
    np.testing.assert_array_equal(record.active, 1)
    np.testing.assert_allclose(record.gains, 0.7, rtol=1e-5)
    assert float(record.omega) == pytest.approx(200 * 0.3**2, rel=1e-4)
    np.testing.assert_allclose(grad, _closed_form(W, 200), rtol=1e-4, atol=1e-3)


def test_a_signal_that_dies_on_the_way():
    """‖δ‖ falls below the smallest float; what is left of it counts."""
    grad, record = _run(0.4 * Q, np.eye(200)[-1])
    alive = np.asarray(record.error_norms) > 1e-36
    np.testing.assert_allclose(np.asarray(record.gains)[alive], 0.4, rtol=1e-5)
    assert 80 < alive.sum() < 100
    assert record.active[0, 0] == 0
    assert finite(grad)
    assert finite(record)


def test_a_step_that_passes_nothing_on():
    grad, record = _run(np.zeros((3, 3)), ALL)
    np.testing.assert_array_equal(record.gains, 0)
    np.testing.assert_array_equal(record.active, 1)
    assert float(record.omega) == T
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_steps_without_a_signal_are_left_out(reduction: Any):
    _, record = _run(0.5 * Q, THIRD, reduction)
    np.testing.assert_array_equal(record.active[:, 0], np.arange(T) <= 2)
    np.testing.assert_array_equal(record.gains[3:], 0)
    expected = 0.25 * (3 if reduction == "sum" else 1)
    assert float(record.omega) == pytest.approx(expected, rel=1e-5)


def test_no_signal_at_all():
    for reduction in ("sum", "mean"):
        grad, record = _run(0.5 * Q, NONE, reduction)
        assert float(record.omega) == 0
        np.testing.assert_array_equal(record.active, 0)
        np.testing.assert_array_equal(grad, 0)


def test_an_exploding_signal():
    """The gradient overflows; what is told of the flow does not."""

    def loss(W: Any, record: Any) -> Any:
        options: Any = {"flow_weight": 1.0, "flow_record": record}
        start, inputs = jnp.zeros((1, 3)), jnp.zeros((120, 1, 3))
        _, y = ltd.unroll(linear, W, start, inputs, **options)
        return _last(y)

    record = ltd.FlowRecord.zeros((120, 1))
    _, record = jax.jit(jax.grad(loss, (0, 1)))(np.float32(3 * Q), record)
    assert not finite(record.error_norms)
    assert finite((record.gains, record.omega))
    active = np.asarray(record.active[:, 0], bool)
    assert 70 < active.sum() < 90
    np.testing.assert_allclose(np.asarray(record.gains)[active], 3, rtol=1e-5)


def test_only_what_is_passed_on_overflows():
    """δ_1 J_1 goes nowhere but into Ω: L's gradient is finite, so is the sum."""

    def loss(W: Any, weight: Any, record: Any) -> Any:
        options: Any = {"flow_weight": weight, "flow_record": record}
        start = jnp.full((1, 3), 1e-3)
        _, y = ltd.unroll(linear, W, start, jnp.zeros((1, 1, 3)), **options)
        return 5e37 * _last(y)

    grad = jax.jit(jax.grad(loss, (0, 2)))
    record = ltd.FlowRecord.zeros((1, 1))
    W = 8 * np.eye(3, dtype=np.float32)
    plain, _ = grad(W, 0.0, record)
    both, record = grad(W, 1.0, record)
    assert finite(plain)
    assert_equal(both, plain)
    assert float(record.omega) == 0
    assert float(record.active[0, 0]) == 0
    assert np.isinf(record.dropped_norms).all()
    assert finite(record._replace(dropped_norms=()))


@cache
def _gradient_beside() -> Any:
    """In W and the record; of the first example one more carry leaf is read."""

    def cell(p: Any, carry: Any, x: Any) -> Any:
        h, s = carry
        h = jnp.tanh(h @ p + x)
        return (h, s + x), h

    c = case("simple")
    inputs = np.sin(np.arange(T * B * H, dtype=np.float32)).reshape(T, B, H)

    def loss(p: Any, weight: Any, record: Any, factor: Any) -> Any:
        options: Any = {"flow_weight": weight, "flow_record": record}
        start = (c.carry, c.carry)
        (_, s), y = ltd.unroll(cell, p, start, inputs, **options)
        return loss_of(y[-1], y) + jnp.sum(factor * s[0])

    grad, zeros = jax.jit(jax.grad(loss, (0, 2))), ltd.FlowRecord.zeros((T, B))
    return lambda weight, factor: grad(c.params["W"], weight, zeros, factor)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_signal_that_is_not_finite_beside_the_parameters(bad: float):
    """One example's signal is bad in a carry leaf that no parameter meets."""
    grad = _gradient_beside()
    (off, _), (on, record) = grad(0.0, bad), grad(1.0, bad)
    assert finite((off, on, record.gains, record.omega))
    np.testing.assert_array_equal(
        record.active, np.arange(B)[None] > 0 * np.ones((T, 1))
    )
    # The other examples count as they would without it, at 1/B each.
    _, good = grad(1.0, 0.0)
    found, expected = np.asarray(record.gains), np.asarray(good.gains)
    assert_close(found[:, 1:], expected[:, 1:], 1e-6)


def test_one_step_and_one_example():
    W = 0.5 * Q
    grad, record = _run(W, np.ones(1))
    np.testing.assert_allclose(grad, _closed_form(W, 1), rtol=1e-5, atol=1e-6)
    assert record.gains.shape == (1, 1)


def test_no_step_at_all():
    grad, record = _run(0.5 * Q, np.ones(0))
    np.testing.assert_array_equal(grad, 0)
    assert float(record.omega) == 0


@cache
def _in_precision(name: str, dtype: Any) -> Any:
    c = case(name, dtype)

    def loss(p: Any, record: Any) -> Any:
        options: Any = {"flow_weight": 1.0, "flow_record": record}
        final, y = ltd.unroll(c.cell, p, c.carry, c.inputs, **options)
        return loss_of(*jax.tree.map(lambda x: x.astype(jnp.float32), (final, y)))

    record = ltd.FlowRecord.zeros((T, B))
    return jax.jit(jax.grad(loss, (0, 1)))(c.params, record)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("simple", jnp.float16),
        ("lstm", jnp.bfloat16),
        pytest.param("simple", jnp.bfloat16, marks=pytest.mark.slow),
        pytest.param("lstm", jnp.float16, marks=pytest.mark.slow),
    ],
)
def test_half_precision(name: str, dtype: Any):
    """Gains in float32 from signals in half; gradients in the parameters' dtype."""
    grads, record = _in_precision(name, dtype)
    expected, wide = _in_precision(name, jnp.float32)
    assert all(g.dtype == dtype for g in jax.tree.leaves(grads))
    assert all(x.dtype == jnp.float32 for x in record)
    # A few units in the last place of half precision, over T steps.
    unit = float(jnp.finfo(dtype).eps)
    assert_close(record, wide, 16 * unit, 4 * unit)
    assert_close(jax.tree.map(np.float32, grads), expected, 16 * unit, 16 * unit)


def test_masked_steps_are_left_out():
    mask = (np.arange(T) < 4)[:, None]
    W = 0.5 * Q
    grad, record = _run(W, LAST, mask=mask)
    np.testing.assert_array_equal(record.active, mask)
    assert float(record.omega) == pytest.approx(4 * 0.25, rel=1e-5)
    # Here every step has a term of its own; the last two are out.
    whole, head = _closed_form(W, T), _closed_form(W, 2)
    np.testing.assert_allclose(grad, whole - head, rtol=1e-4, atol=1e-6)
    empty, record = _run(W, LAST, mask=np.zeros((T, 1), bool))
    assert_equal((empty, record.omega), (np.zeros((3, 3)), np.zeros(())))
    assert np.all(record.error_norms > 0)
