"""What the gradient of Ω reaches, and how much of it."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import case, loss_of, simple
from tests.recurrent.oracles import (
    assert_close,
    assert_equal,
    flow_loss,
    minus,
)

CASE = case("simple")
RTOL, ATOL = 1e-5, 1e-6  # float32; Ω's share is a difference of gradients of size 1
SELECTIONS = {
    "all": ("all", {"W", "U", "b"}),
    "recurrent": ("recurrent", {"W"}),
    "none": (False, set()),
    "one prefix": (True, {"W", "U", "b"}),
    "tree": ({"W": False, "U": True, "b": False}, {"U"}),
}


@cache
def _grad(selection: str) -> Any:
    """Gradients in params, carry, inputs and weight, compiled once."""
    flow_params, _ = SELECTIONS[selection]

    def loss(params: Any, carry: Any, inputs: Any, weight: Any) -> Any:
        return flow_loss(
            CASE,
            loss_of,
            params,
            carry,
            inputs,
            flow_weight=weight,
            flow_params=flow_params,
        )

    grad = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
    return lambda w: grad(CASE.params, CASE.carry, CASE.inputs, np.float32(w))


# What goes for one prefix, "all" and "none" hold.
@pytest.mark.parametrize(
    "selection",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name == "one prefix"))
        for name in SELECTIONS
    ],
)
def test_reaches_the_chosen_parameters_alone(selection: str):
    off, on = _grad(selection)(0), _grad(selection)(2)
    whole = minus(_grad("all")(2)[0], _grad("all")(0)[0])
    _, chosen = SELECTIONS[selection]
    for key in CASE.params:
        if key in chosen:
            assert_close(minus(on[0][key], off[0][key]), whole[key], RTOL, ATOL)
            assert np.max(np.abs(whole[key])) > 1e-2
        else:
            assert_equal(on[0][key], off[0][key])
    assert_equal(on[1:], off[1:])


def test_a_mask_keeps_it_from_what_the_cell_closes_over():
    c, params = CASE, CASE.params

    def loss(U: Any, W: Any, weight: Any) -> Any:
        cell = lambda p, h, x: simple({"W": p, "U": U, "b": params["b"]}, h, x)
        options: Any = {"flow_weight": weight, "flow_params": True}
        return loss_of(*ltd.unroll(cell, W, c.carry, c.inputs, **options))

    grad = jax.jit(jax.grad(loss, (0, 1)))
    off, on = (grad(params["U"], params["W"], w) for w in (0.0, 2.0))
    assert_equal(off[0], on[0])
    assert_close(off[0], _grad("all")(0)[0]["U"], RTOL, ATOL)
    whole = minus(_grad("all")(2)[0], _grad("all")(0)[0])
    assert_close(minus(on[1], off[1]), whole["W"], RTOL, ATOL)


def test_value_is_the_loss_alone():
    args = (CASE, loss_of, CASE.params, CASE.carry, CASE.inputs)
    value = jax.jit(lambda w: flow_loss(*args, flow_weight=w))
    assert_equal(value(0.0), value(5.0))


def test_is_linear_in_the_weight():
    none, one, three = (_grad("all")(w)[0] for w in (0, 1, 3))
    thrice = jax.tree.map(lambda a, b: a + 3 * np.subtract(b, a), none, one)
    assert_close(three, thrice, RTOL, ATOL)


def test_the_weight_itself_has_no_gradient():
    assert float(_grad("all")(2)[3]) == 0


def test_a_number_equals_a_traced_scalar():
    def grad(weight: float) -> Any:
        args = (CASE.carry, CASE.inputs)
        loss = lambda p: flow_loss(CASE, loss_of, p, *args, flow_weight=weight)
        return jax.jit(jax.grad(loss))(CASE.params)

    assert_close(grad(2.0), _grad("all")(2)[0], RTOL, ATOL)
    # Off as a number is JAX's own scan: the same gradient by another order of sums.
    assert_close(grad(0), _grad("all")(0)[0], RTOL, ATOL)


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)]
)
def test_any_float_dtype_of_the_weight(dtype: Any):
    args = (CASE.carry, CASE.inputs)
    loss = lambda p, w: flow_loss(CASE, loss_of, p, *args, flow_weight=w)
    found = jax.jit(jax.grad(loss))(CASE.params, jnp.asarray(2, dtype))
    assert_close(found, _grad("all")(2)[0], RTOL, ATOL)
    assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(found))
