"""Cells that draw random numbers: the backward pass sees those of the forward pass."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import B, H, T, case, loss_of, simple
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


@cache
def _gradient(cell: Any, flow_weight: float) -> Callable[[Any], Any]:
    """In the parameters, as a function of the inputs."""
    c = case("simple", "float64")._replace(cell=cell)
    return jax.jit(
        lambda inputs: jax.grad(
            lambda p: flow_loss(c, loss_of, p, c.carry, inputs, flow_weight=flow_weight)
        )(c.params)
    )


@pytest.mark.parametrize(
    ("impl", "flow_weight"),
    [
        ("threefry2x32", 0.0),
        ("threefry2x32", 1.0),
        ("rbg", 1.0),
        pytest.param("rbg", 0.0, marks=pytest.mark.slow),
        pytest.param("unsafe_rbg", 0.0, marks=pytest.mark.slow),
        pytest.param("unsafe_rbg", 1.0, marks=pytest.mark.slow),
    ],
)
def test_a_key_for_each_step(impl: str, flow_weight: float):
    """The key has no batch axis, and stands before the inputs that have one."""
    x = case("simple", "float64").inputs
    keys = jax.random.split(jax.random.key(0, impl=impl), T)
    noise = jnp.stack([_noise(key) for key in keys])
    found = _gradient(_drawing, flow_weight)({"key": keys, "x": x})
    given = _gradient(_given, flow_weight)({"noise": noise, "x": x})
    assert_close(found, given, RTOL, ATOL)


def test_inputs_that_the_examples_share():
    c = case("simple", "float64")
    shared = np.asarray(c.inputs)[:, :1]

    def grad(inputs: Any, remat: bool) -> Any:
        options: Any = {"flow_weight": 1.0, "flow_reduction": "mean", "remat": remat}
        loss = lambda p: flow_loss(c, loss_of, p, c.carry, inputs, **options)
        return jax.jit(jax.grad(loss))(c.params)

    expected = grad(np.broadcast_to(shared, c.inputs.shape), remat=False)
    for remat in (False, True):
        assert_close(grad(shared, remat), expected, RTOL, ATOL)


def test_carries_of_unlike_batches():
    c = case("simple", "float64")

    def cell(p: Any, carry: Any, x: Any) -> Any:
        scale, h = carry
        h = scale * simple(p, h, x)[0]
        return (scale, h), h

    with pytest.raises(ValueError, match=r"each floating leaf; got \[\(\), \(3,\)\]"):
        ltd.unroll(
            cell,
            c.params,
            (jnp.ones(()), c.carry),
            c.inputs,
            num_batch_dims=1,
            flow_weight=1.0,
        )
