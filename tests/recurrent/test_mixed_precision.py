"""Cells that compute in half precision and keep their parameters in float32."""

import re
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.cells import FLAX_CELLS
from tests.flax.models import B, F, H, X
from tests.recurrent.oracles import assert_close, finite, minus
from tests.slow import slow_but

WEIGHT = 2.0
Q = np.linalg.qr(np.random.default_rng(5).normal(size=(H, H)))[0]


def _run(layer: Any, x: Any = X, scale: float = 1.0, loss_scale: float = 1.0) -> Any:
    """The flow, ∇(L + WEIGHT · Ω) and ∇L, where L is ``scale`` times a batch mean."""
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)

    def loss(model: Any, x: Any, weight: Any) -> Any:
        last = model(x, flow_weight=weight)[:, -1].astype(jnp.float32)
        return loss_scale * scale * jnp.sum(last**2 + last) / B

    @jax.jit
    def run(params: Any, weight: Any) -> Any:
        model = nnx.merge(graphdef, params, rest, copy=True)
        (_, flow), grads = ltd.value_and_grad(loss)(model, x, loss_scale * weight)
        grads = nnx.to_pure_dict(grads)
        return flow[""], jax.tree.map(lambda g: g / loss_scale, grads)

    (flow, on), (_, off) = (run(params, jnp.float32(w)) for w in (WEIGHT, 0.0))
    return flow, on, off


def _layer(cell: str, dtype: Any) -> Any:
    return ltd.FlowRNN(FLAX_CELLS[cell](F, H, dtype=dtype, rngs=nnx.Rngs(0)))


@cache
def _in_float32(cell: str) -> Any:
    return _run(_layer(cell, jnp.float32))


CASES = slow_but(
    [("SimpleCell", jnp.float16), ("GRUCell", jnp.bfloat16)],
    [("SimpleCell", jnp.float16), *((name, jnp.bfloat16) for name in FLAX_CELLS)],
)


@pytest.mark.parametrize(("cell", "dtype"), CASES)
def test_is_close_to_float32(cell: str, dtype: Any):
    """Also where `nnx.RNN` wants the initial carry of the other dtype."""
    flow, on, off = _run(_layer(cell, dtype))
    wide, wide_on, wide_off = _in_float32(cell)
    for x in (flow.gains, flow.error_norms, flow.omega, *jax.tree.leaves(on)):
        assert x.dtype == jnp.float32
    unit = float(jnp.finfo(dtype).eps)
    np.testing.assert_array_equal(flow.active, True)
    assert_close(flow.gains, wide.gains, 8 * unit)
    assert_close(flow.error_norms, wide.error_norms, 8 * unit)
    # Sums of terms that cancel: relative to the largest entries.
    for found, expected in (
        (minus(on, off), minus(wide_on, wide_off)),
        (off, wide_off),
    ):
        size = max(np.max(np.abs(g)) for g in jax.tree.leaves(expected))
        assert size > 0.1
        assert_close(found, expected, 0, 8 * unit * size)


@pytest.mark.parametrize("cell", FLAX_CELLS)
def test_outputs_are_those_of_nnx(cell: str):
    """Given a first carry of the dtype that the cell returns."""
    layer = _layer(cell, jnp.bfloat16)
    carry, found = layer(X, return_carry=True)
    start = jax.tree.map(jnp.zeros_like, carry)
    call: Any = {"initial_carry": start, "return_carry": True}
    expected = nnx.RNN(layer.cell)(X, **call)
    assert_close((carry, found), expected, 2**-7)
    same = lambda x, y: x.dtype == y.dtype
    assert jax.tree.all(jax.tree.map(same, (carry, found), expected))


def _halving(dtype: Any, steps: int) -> tuple[Any, np.ndarray]:
    """A linear layer that halves every signal, exactly; parameters in float32."""
    cell = nnx.SimpleCell(
        F, H, dtype=dtype, activation_fn=lambda x: x, rngs=nnx.Rngs(0)
    )
    cell.dense_h.kernel[...] = 0.5 * np.roll(np.eye(H), 1, 0)
    return ltd.FlowRNN(cell), np.zeros((1, steps, F), np.float32)


def test_signals_far_below_the_root_of_the_smallest_float():
    """bfloat16 has the range of float32."""
    flow, on, off = _run(*_halving(jnp.bfloat16, 110))
    assert 0 < float(flow.error_norms[0, 0]) < 1e-30
    np.testing.assert_array_equal(flow.active, True)
    np.testing.assert_array_equal(flow.gains, 0.5)
    # δ_t and δ_t J_t point along (1, 1, 1, 1) at every step.
    term = 2 * (0.5 - 1) / H * np.ones((H, H))
    found = minus(on, off)["cell"]["dense_h"]["kernel"]
    assert_close(found, WEIGHT * 110 * term, 2**-7)


def test_signals_that_leave_the_range_of_float16():
    """What is lost counts no more, and nothing else is."""
    layer, x = _halving(jnp.float16, 60)
    flow, *grads = _run(layer, x)
    large = np.asarray(flow.error_norms) > 1e-3
    np.testing.assert_array_equal(np.asarray(flow.gains)[large], 0.5)
    assert float(flow.error_norms[0, 0]) == 0
    assert not flow.active[0, 0]
    # One last step may pass nothing on.
    assert float(flow.omega) <= 0.25 * np.sum(flow.active) + 1
    assert finite((flow, grads))


def test_a_scaled_loss_in_float16():
    """Gradients too small for float16 come out right, those of Ω among them."""
    small = 1e-6
    layer = _layer("SimpleCell", jnp.float16)
    flow, on, off = _run(layer, scale=small, loss_scale=2.0**15)
    wide, wide_on, wide_off = _in_float32("SimpleCell")
    assert_close(flow.gains, wide.gains, 2**-7)
    # Ω does not shrink with the loss.
    expected_off = jax.tree.map(lambda g: small * np.asarray(g), wide_off)
    expected_on = jax.tree.map(np.add, expected_off, minus(wide_on, wide_off))
    for found, expected in ((on, expected_on), (off, expected_off)):
        size = max(np.max(np.abs(g)) for g in jax.tree.leaves(expected))
        assert_close(found, expected, 0, 2**-7 * size)


def _cell_of(dtype: Any) -> Any:
    """A tanh cell that returns its carry in one dtype, whatever it was given."""

    def cell(w: Any, h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ w + x).astype(dtype)
        return h, h

    return cell


@pytest.mark.parametrize(
    ("given", "returned", "weight"),
    [
        (jnp.float32, jnp.bfloat16, 1.0),
        (jnp.bfloat16, jnp.float32, 0.0),
        pytest.param(jnp.float32, jnp.bfloat16, 0.0, marks=pytest.mark.slow),
        pytest.param(jnp.bfloat16, jnp.float32, 1.0, marks=pytest.mark.slow),
    ],
)
def test_the_first_carry_takes_the_dtype_of_the_others(
    given: Any, returned: Any, weight: float
):
    w, x = np.asarray(0.5 * Q, np.float32), np.ones((5, B, H), np.float32)
    start = np.full((B, H), 0.3, given)

    def loss(w: Any, carry: Any) -> Any:
        final, y = ltd.unroll(_cell_of(returned), w, carry, x, flow_weight=weight)
        assert final.dtype == y.dtype == returned
        return jnp.sum(y[-1].astype(jnp.float32) ** 2)

    def before(w: Any, carry: Any) -> Any:
        return loss(w, carry.astype(returned))

    found, expected = (jax.jit(jax.grad(f, (0, 1)))(w, start) for f in (loss, before))
    assert [g.dtype for g in found] == [w.dtype, start.dtype]
    assert_close(found, expected, 1e-5)
    assert np.max(np.abs(np.float32(found[1]))) > 1e-3


def test_dtypes_that_settle_one_after_the_other():
    """And a Python number that a step makes a float."""

    def cell(w: Any, carry: Any, x: Any) -> Any:
        a, b, n = carry
        return (jnp.tanh(b @ w), a + x.astype(a.dtype), n + 0.5), a

    half = np.zeros((B, H), jnp.bfloat16)
    run = jax.jit(lambda *data: ltd.unroll(cell, *data))
    final, y = run(np.eye(H), (half, half, 0), np.ones((5, B, H)))
    assert {h.dtype for h in (*final, y)} == {jnp.dtype(jnp.float32)}
    assert float(final[2]) == 2.5


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_dtypes_that_never_settle(weight: float):
    def turns(w: Any, carry: Any, x: Any) -> Any:
        other = {jnp.bfloat16: jnp.float16, jnp.float16: jnp.bfloat16}
        h = carry["h"]
        return {"h": h.astype(other[h.dtype.type])}, x

    def counts(w: Any, carry: Any, x: Any) -> Any:
        return {"h": carry["h"] + x}, x

    required = "the cell must return a carry of the dtypes it was given: carry[0]['h'] "
    for cell, dtype, message in (
        (turns, jnp.bfloat16, "has dtype float16; got bfloat16"),
        (counts, jnp.int32, "has dtype int32; got float32"),
    ):
        carry = {"h": jnp.zeros((B, H), dtype)}
        with pytest.raises(ValueError, match=re.escape(required + message)):
            ltd.unroll(cell, (), carry, jnp.ones((5, B, H)), flow_weight=weight)
