"""Cells that draw random numbers: the backward pass sees those of the forward pass."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import B, Case, H, T, case, loss_of, simple
from tests.recurrent.oracles import assert_close, flow_loss

RTOL, ATOL = 1e-10, 1e-12  # float64


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _noise(key: Any) -> jax.Array:
    return 1 + 0.3 * jax.random.normal(key, (B, H))


def _drawing(p: Any, h: Any, x: Any) -> Any:
    h = simple(p, h, x["x"])[0] * _noise(x["key"])
    return h, h


def _given(p: Any, h: Any, x: Any) -> Any:
    h = simple(p, h, x["x"])[0] * x["noise"]
    return h, h


@pytest.mark.parametrize("flow_weight", [0.0, 1.0])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_a_key_for_each_step(impl: str, flow_weight: float):
    """The key has no batch axis, and stands before the inputs that have one."""
    c = case("simple", "float64")
    keys = jax.random.split(jax.random.key(0, impl=impl), T)
    noise = jnp.stack([_noise(key) for key in keys])

    def grad(c: Case) -> Any:
        loss = lambda p: flow_loss(
            c, loss_of, p, c.carry, c.inputs, flow_weight=flow_weight
        )
        return jax.jit(jax.grad(loss))(c.params)

    found = grad(c._replace(cell=_drawing, inputs={"key": keys, "x": c.inputs}))
    given = grad(c._replace(cell=_given, inputs={"noise": noise, "x": c.inputs}))
    assert_close(found, given, RTOL, ATOL)


def test_inputs_that_the_examples_share():
    c = case("simple", "float64")
    shared = c.inputs[:, :1]

    def grad(inputs: Any, remat: bool) -> Any:
        options: Any = {"flow_weight": 1.0, "flow_reduction": "mean", "remat": remat}
        loss = lambda p: flow_loss(c, loss_of, p, c.carry, inputs, **options)
        return jax.jit(jax.grad(loss))(c.params)

    expected = grad(jnp.broadcast_to(shared, c.inputs.shape), remat=False)
    for remat in (False, True):
        assert_close(grad(shared, remat), expected, RTOL, ATOL)


def test_carries_of_unlike_batches():
    c = case("simple", "float64")

    def cell(p: Any, carry: Any, x: Any) -> Any:
        scale, h = carry
        h = scale * simple(p, h, x)[0]
        return (scale, h), h

    with pytest.raises(ValueError, match=r"each floating leaf; got \[\(\), \(3,\)\]"):
        ltd.unroll(cell, c.params, (jnp.ones(()), c.carry), c.inputs, flow_weight=1.0)
