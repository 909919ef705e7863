"""Layers that a transformation of Flax makes of a single object: a report each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import ATOL, RTOL, B, T, squares
from tests.recurrent.oracles import assert_close

N, H = 3, 4
X: Any = np.sin(np.arange(B * T * H, dtype=np.float32)).reshape(B, T, H)


def _layer(rngs: nnx.Rngs) -> ltd.FlowRNN:
    return ltd.FlowRNN(nnx.SimpleCell(H, H, rngs=rngs), flow_weight=1.0)


def _made(*sizes: int) -> ltd.FlowRNN:
    """A stack of layers, or a stack of stacks."""
    make = _layer
    for size in reversed(sizes):
        make = nnx.split_rngs(splits=size)(nnx.vmap(make))
    return nnx.jit(lambda: make(nnx.Rngs(0)))()


class Deep(nnx.Module):
    """Layers that run one after another, once from a stack and once from a list."""

    def __init__(self, layers: Any, axes: Any = 0):
        self.layers = layers
        self.axes = axes

    def __call__(self, x: jax.Array) -> jax.Array:
        if isinstance(self.layers, nnx.List):
            for layer in self.layers:
                x = layer(x)
            return x[:, -1]
        axes = (nnx.Carry, self.axes)
        run = nnx.scan(lambda x, layer: layer(x), in_axes=axes, out_axes=nnx.Carry)
        return run(x, self.layers)[:, -1]


def _parted(stack: ltd.FlowRNN, place: tuple[int, ...]) -> ltd.FlowRNN:
    graphdef, state = nnx.split(stack)
    return nnx.merge(graphdef, jax.tree.map(lambda x: x[place], state))


def test_layers_under_nnx_scan():
    stack = _made(N)

    @nnx.jit
    def run(stack: Any) -> Any:
        apart = Deep(nnx.List([_parted(stack, (i,)) for i in range(N)]))
        grad = ltd.value_and_grad(squares)
        (_, flow), _ = both = grad(Deep(stack), X)
        assert list(flow) == [f"layers/{i}" for i in range(N)]
        return both, grad(apart, X)

    ((loss, flow), grads), ((expected, layers), of_list) = run(stack)
    assert_close(loss, expected, RTOL)
    assert_close(flow, layers, RTOL, ATOL)
    kernels = [of_list["layers"][i]["cell"]["dense_h"]["kernel"] for i in range(N)]
    found = grads["layers"]["cell"]["dense_h"]["kernel"]
    assert_close(
        np.asarray(found), np.stack([np.asarray(k) for k in kernels]), RTOL, ATOL
    )
    assert stack.flow_record is None
    report = ltd.gradient_flow(squares, Deep(stack), X)
    assert_close(report.layers, layers, RTOL, ATOL)


def test_stacks_of_stacks_side_by_side():
    stack = _made(2, N)
    over_both = nnx.vmap(nnx.vmap(lambda layer, x: layer(x)[:, -1]))
    inputs = np.stack([(1 + i) * X for i in range(2 * N)]).reshape(2, N, *X.shape)

    def loss(layers: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(over_both(layers, x) ** 2) / B

    def last(layer: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(layer(x)[:, -1] ** 2) / B

    places = [(i, j) for i in range(2) for j in range(N)]

    @nnx.jit
    def run(stack: Any, x: jax.Array) -> Any:
        (_, flow), _ = ltd.value_and_grad(loss)(stack, x)
        assert list(flow) == [f"{i}/{j}" for i, j in places]
        alone = {
            f"{i}/{j}": ltd.value_and_grad(last)(_parted(stack, (i, j)), x[i, j])
            for i, j in places[1::3]
        }
        return flow, {name: seen[""] for name, ((_, seen), _) in alone.items()}

    flow, alone = run(stack, jnp.asarray(inputs))
    for name, seen in alone.items():
        assert_close(flow[name], seen, RTOL, ATOL)


def test_a_stack_whose_parameters_lie_along_another_axis():
    axes = nnx.StateAxes({nnx.Param: 1, ...: 0})
    graphdef, params, rest = nnx.split(_made(N), nnx.Param, ...)
    moved = jax.tree.map(lambda x: np.moveaxis(np.asarray(x), 0, 1), params)
    found, expected = (
        ltd.gradient_flow(squares, Deep(nnx.merge(graphdef, p, rest), a), X)
        for p, a in ((moved, axes), (params, 0))
    )
    assert_close(found.layers, expected.layers, RTOL, ATOL)


def test_a_stack_whose_records_are_not_mapped():
    axes = nnx.StateAxes({nnx.Param: 0, nnx.RngState: 0, ...: None})
    message = r"must map its FlowRecordVariable over axis 0 .*; got a record of \(3, 5"
    with pytest.raises(ValueError, match=message):
        ltd.value_and_grad(squares)(Deep(_made(N), axes), X)
