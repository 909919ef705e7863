"""`remat` changes what is kept, not what comes out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import case, loss_of
from tests.recurrent.oracles import flow_loss
from tests.slow import slow_but


def _gradients(kind: str, length: int, **options: Any) -> Any:
    """Loss, and its gradients in params, carry, inputs and the record."""
    c = case(kind, np.float64, steps=length)

    def loss(params: Any, carry: Any, inputs: Any, record: Any) -> jax.Array:
        seen = {} if record is None else {"flow_record": record}
        return flow_loss(c, loss_of, params, carry, inputs, **seen, **options)

    watched = "flow_weight" in options
    record = ltd.FlowRecord.zeros(c.inputs.shape[:2]) if watched else None
    value_and_grad = jax.value_and_grad(loss, argnums=(0, 1, 2, 3))
    return jax.jit(value_and_grad)(c.params, c.carry, c.inputs, record)


def _assert_same(kind: str, length: int = 11, **options: Any) -> None:
    with jax.enable_x64(True):
        kept = _gradients(kind, length, **options)
        again = _gradients(kind, length, remat=True, **options)
    for x, y in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        tolerance = 1e-10 if x.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def test_without_omega():
    _assert_same("lstm")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "reduction"),
    slow_but([("both", "mean")], [("lstm", "sum"), ("both", "mean")]),
)
def test_with_omega(kind: str, reduction: str):
    _assert_same(kind, flow_weight=0.7, flow_reduction=reduction)


@pytest.mark.parametrize("length", slow_but([1], [1, 2]))
def test_short_sequences(length: int):
    _assert_same("simple", length, flow_weight=0.7, flow_reduction="mean")


def test_with_every_other_option():
    _assert_same(
        "simple",
        flow_weight=np.float64(0.7),
        flow_form="squared_ratio",
        flow_params="recurrent",
        mask=np.random.default_rng(0).random((11, 3)) < 0.7,
        carry_clip=ltd.clip_carry_gradient(0.5),
        truncate=4,
        unroll=2,
    )


@pytest.mark.slow
def test_a_fraction_of_the_steps_is_unbiased():
    c = case("simple")

    def grad(key: Any, fraction: float) -> Any:
        options = {"flow_fraction": fraction, "flow_key": key, "remat": True}
        return jax.grad(
            lambda params: flow_loss(
                c, loss_of, params, c.carry, c.inputs, flow_weight=1.0, **options
            )
        )(c.params)["W"]

    keys = jax.random.split(jax.random.key(0), 1000)
    drawn = jax.jit(jax.vmap(lambda key: grad(key, 0.5)))(keys)
    whole = jax.jit(lambda key: grad(key, 1.0))(keys[0])
    error = np.std(drawn, axis=0) / np.sqrt(len(keys))
    assert np.all(error > 0)
    assert np.all(np.abs(np.mean(drawn, axis=0) - whole) < 4.5 * error)


def test_forward_mode_without_omega():
    c = case("simple")

    def tangent(**options: Any) -> jax.Array:
        loss = lambda p: flow_loss(c, loss_of, p, c.carry, c.inputs, **options)
        return jax.jit(lambda p: jax.jvp(loss, (p,), (p,))[1])(c.params)

    np.testing.assert_allclose(tangent(), tangent(remat=True), rtol=1e-5, atol=1e-8)


def test_forward_mode_with_omega_says_why():
    c = case("simple")
    options: Any = {"flow_weight": 1.0, "flow_reduction": "mean", "remat": True}
    loss = lambda p: flow_loss(c, loss_of, p, c.carry, c.inputs, **options)
    with pytest.raises(NotImplementedError, match="Set flow_weight=0"):
        jax.jvp(loss, (c.params,), (c.params,))


def _temporary_bytes(length: int, **options: Any) -> int:
    """Of a gradient through a cell without outputs, so that only the carry is left."""
    w, start = np.eye(16, dtype=np.float32), np.ones((4, 16), np.float32)
    inputs = np.ones((length, 1, 1), np.float32)

    def cell(w: Any, h: Any, x: Any) -> Any:
        return jnp.tanh(h @ w + x), None

    def loss(w: Any) -> jax.Array:
        h, _ = ltd.unroll(cell, w, start, inputs, **options)
        return jnp.sum(h)

    compiled = jax.jit(jax.grad(loss)).lower(w).compile()
    analysis: Any = compiled.memory_analysis()
    return analysis.temp_size_in_bytes


@pytest.mark.parametrize("flow_weight", [0.0, 1.0])
def test_memory_grows_as_the_square_root(flow_weight: float):
    options = {"flow_weight": flow_weight}
    per_step = 4 * 16 * 4
    assert _temporary_bytes(10_000, **options) > 10_000 * per_step
    short, long = (
        _temporary_bytes(length, remat=True, **options) for length in (10_000, 40_000)
    )
    # Four times the steps; what is left beside carries is a few numbers a step.
    assert long - short < 2000 * per_step
