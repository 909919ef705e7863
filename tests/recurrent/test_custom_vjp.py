"""Cells with a ``jax.custom_vjp`` inside, which forward mode cannot see through."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import case, loss_of


@jax.custom_vjp
def _tanh(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


_tanh.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, ct: (ct * (1 - y * y),))


def _gradient(slope: Any, wrap: Callable[..., Any], **options: Any) -> Any:
    c = case("both", np.float64)

    def cell(p: Any, h: Any, x: Any) -> Any:
        h = wrap(lambda h: slope(x @ p["U"] + p["b"] + h @ p["W"]))(h)
        return h, (h, jnp.sin(h @ p["W"]))

    def loss(params: Any, carry: Any, inputs: Any) -> jax.Array:
        out = ltd.unroll(cell, params, carry, inputs, flow_weight=0.7, **options)
        return loss_of(*out)

    return jax.jit(jax.grad(loss, (0, 1, 2)))(c.params, c.carry, c.inputs)


@pytest.mark.parametrize(
    ("wrap", "options"),
    [
        (lambda f: f, {"flow_form": "squared_ratio", "flow_reduction": "mean"}),
        (jax.checkpoint, {"remat": True}),
    ],
    ids=["bare", "behind checkpoints"],
)
def test_the_gradient_is_that_of_the_same_function(wrap: Any, options: Any):
    with jax.enable_x64(True):
        found = _gradient(_tanh, wrap, **options)
        expected = _gradient(jnp.tanh, wrap, **options)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)
