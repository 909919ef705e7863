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
from tests.slow import slow_but

SCALE = jnp.float32(1.5)
KERNELS = nnx.All(nnx.Param, nnx.PathContains("kernel"))


def _loss(scale: Any, first: Any, second: Any, x: Any = X, shift: float = 0.0) -> Any:
    y = second(first(x))
    return scale * jnp.sum(y[:, -1] ** 2) / B + shift


@nnx.jit
def _layers() -> tuple[ltd.FlowRNN, ltd.FlowRNN]:
    gru = nnx.GRUCell(4, 3, rngs=nnx.Rngs(1))
    return simple_layer(flow_weight=1.0), ltd.FlowRNN(gru, flow_weight=2.0)


def _found_and_expected(loss: Any, *args: Any, **options: Any) -> Any:
    """Loss, reports and gradient, and those of Flax, in one program."""

    @nnx.jit
    def run(*args: Any) -> Any:
        found = ltd.value_and_grad(loss, **options)(*args)
        expected = nnx.value_and_grad(loss, **options)(*args)
        assert jax.tree.structure(found[1]) == jax.tree.structure(expected[1])
        return (
            jax.tree.leaves((found[0][0], found[1])),
            jax.tree.leaves(expected),
            found[0][1],
        )

    return run(*args)


ARGNUMS: list[Any] = [
    0,
    (2,),
    [1, 2],
    nnx.DiffState(1, KERNELS),
    (nnx.DiffState(2, nnx.PathContains("bias")), 0),
]


@pytest.mark.parametrize(
    "argnums", slow_but(ARGNUMS, [*ARGNUMS, 1, ((2, 0),)]), ids=str
)
def test_argnums(argnums: Any):
    args = SCALE, *_layers()
    found, expected, flow = _found_and_expected(_loss, *args, argnums=argnums)
    assert_close(found, expected, RTOL, ATOL)
    assert {name: one.gains.shape for name, one in flow.items()} == {
        "1": (T, B),
        "2": (T, B),
    }


def test_arguments_by_name_and_as_a_decorator():
    @ltd.value_and_grad(argnums=1, has_aux=True)
    def with_aux(*args: Any, **kwargs: Any) -> Any:
        return _loss(*args, **kwargs), kwargs["shift"]

    @nnx.jit
    def run(first: Any, second: Any) -> Any:
        by_name = {"second": second, "first": first, "shift": 2.0}
        found, _ = with_aux(SCALE, first, second, shift=2.0)
        return found, ltd.value_and_grad(_loss)(SCALE, **by_name)

    (found, flow), ((expected, layers), grads) = run(*_layers())
    assert_close(found, (expected, 2.0), RTOL)
    assert_close(flow, layers, RTOL, ATOL)
    assert grads.shape == ()


def test_modules_inside_of_an_argument():
    models = dict(zip(("first", "second"), _layers(), strict=True))
    loss = lambda models, scale: _loss(scale, models["first"], models["second"])
    found, expected, flow = _found_and_expected(loss, models, SCALE)
    assert_close(found, expected, RTOL, ATOL)
    assert set(flow) == {"first", "second"}


@pytest.mark.parametrize("how", [{"graph": False}, {"graph_updates": False}], ids=str)
def test_modules_as_trees(how: Any):
    layer = _layers()[0]
    layer.rngs = None  # of integers, which have no gradient
    loss = lambda layer, x: jnp.sum(layer(x, initial_carry=jnp.zeros((B, H))) ** 2)
    found, expected, flow = _found_and_expected(loss, layer, X, **how)
    assert_close(found, expected, RTOL, ATOL)
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

    def loss(model: Any, x: jax.Array) -> jax.Array:
        cell = lambda w, h, x: (jnp.tanh(h @ w + x),) * 2
        weights = model.head.kernel[:2]
        inputs = jnp.swapaxes(x, 0, 1)
        carry, _ = ltd.unroll(cell, weights, jnp.zeros((B, 2)), inputs)
        return squares(model, x) + jnp.sum(carry)

    model = nnx.jit(lambda: Stacked())()
    found, expected, flow = _found_and_expected(loss, model, X)
    assert sorted(flow) == ["rnns/0", "rnns/1", "unroll_0"]
    assert_close(found, expected, RTOL, ATOL)
