"""`ltd.value_and_grad` takes what `nnx.value_and_grad` takes."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import (
    ATOL,
    RTOL,
    B,
    H,
    Stacked,
    T,
    X,
    simple_layer,
    squares,
)
from tests.recurrent.oracles import assert_close

SCALE = jnp.float32(1.5)
KERNELS = nnx.All(nnx.Param, nnx.PathContains("kernel"))


def _loss(scale: Any, first: Any, second: Any, x: Any = X, shift: float = 0.0) -> Any:
    y = second(first(x))
    return scale * jnp.sum(y[:, -1] ** 2) / B + shift


def _args() -> tuple[Any, ...]:
    layers = (
        simple_layer(flow_weight=1.0),
        ltd.FlowRNN(nnx.GRUCell(4, 3, rngs=nnx.Rngs(1)), flow_weight=2.0),
    )
    return SCALE, *layers


@pytest.mark.parametrize(
    "argnums",
    [
        0,
        1,
        (2,),
        (2, 0),
        [1, 2],
        nnx.DiffState(1, KERNELS),
        (nnx.DiffState(2, nnx.PathContains("bias")), 0),
    ],
    ids=str,
)
def test_argnums(argnums: Any):
    args = _args()
    (loss, flow), grads = ltd.value_and_grad(_loss, argnums=argnums)(*args)
    expected = nnx.value_and_grad(_loss, argnums=argnums)(*args)
    assert jax.tree.structure(grads) == jax.tree.structure(expected[1])
    assert_close((loss, grads), expected, RTOL, ATOL)
    assert {name: one.gains.shape for name, one in flow.items()} == {
        "1": (T, B),
        "2": (T, B),
    }


def test_arguments_by_name_and_as_a_decorator():
    scale, first, second = _args()

    @ltd.value_and_grad(argnums=1, has_aux=True)
    def found(*args: Any, **kwargs: Any) -> Any:
        return _loss(*args, **kwargs), kwargs["shift"]

    ((loss, aux), flow), _ = found(scale, first, second, shift=2.0)
    (expected, layers), grads = ltd.value_and_grad(_loss)(
        scale, second=second, first=first, shift=2.0
    )
    assert_close((loss, aux), (expected, 2.0), RTOL)
    assert_close(flow, layers, RTOL, ATOL)
    assert grads.shape == ()


def test_modules_inside_of_an_argument():
    args = _args()
    models = {"first": args[1], "second": args[2]}
    loss = lambda models, scale: _loss(scale, models["first"], models["second"])
    (value, flow), grads = ltd.value_and_grad(loss)(models, SCALE)
    assert_close((value, grads), nnx.value_and_grad(loss)(models, SCALE), RTOL, ATOL)
    assert set(flow) == {"first", "second"}


@pytest.mark.parametrize("how", [{"graph": False}, {"graph_updates": False}], ids=str)
def test_modules_as_trees(how: Any):
    layer = simple_layer(flow_weight=1.0)
    layer.rngs = None  # of integers, which have no gradient
    loss = lambda layer, x: jnp.sum(layer(x, initial_carry=jnp.zeros((B, H))) ** 2)
    (value, flow), grads = ltd.value_and_grad(loss, **how)(layer, X)
    expected, expected_grads = nnx.value_and_grad(loss, **how)(layer, X)
    assert jax.tree.structure(grads) == jax.tree.structure(expected_grads)
    leaves, expected_leaves = map(jax.tree.leaves, (grads, expected_grads))
    assert_close((value, leaves), (expected, expected_leaves), RTOL, ATOL)
    assert flow[""].gains.shape == (T, B)
    assert layer.flow_record is None


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`holomorphic` must be False, .*; got True"):
        ltd.value_and_grad(squares, holomorphic=True)
    state: Any = nnx.DiffState(0, nnx.Param)
    with pytest.raises(ValueError, match=r"`argnums` must be an int .*; got DiffState"):
        ltd.value_and_grad(lambda w: w, argnums=state)(SCALE)


def test_unroll_beside_a_layer():
    """In a loss of a module too, its calls report by their order."""
    model = Stacked()

    def loss(model: Any, x: jax.Array) -> jax.Array:
        cell = lambda w, h, x: (jnp.tanh(h @ w + x),) * 2
        weights = model.head.kernel[:2]
        inputs = jnp.swapaxes(x, 0, 1)
        carry, _ = ltd.unroll(cell, weights, jnp.zeros((B, 2)), inputs)
        return squares(model, x) + jnp.sum(carry)

    (_, flow), grads = ltd.value_and_grad(loss)(model, X)
    assert list(flow) == ["rnns/0", "rnns/1", "unroll_0"]
    assert_close(grads, nnx.grad(loss)(model, X), RTOL, ATOL)
