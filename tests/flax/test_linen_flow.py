"""`ltd.linen.FlowRNN` with Ω on: what its gradient is, and what it reaches."""

from functools import partial
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from flax.core import freeze

import optax_ltd as ltd
from tests.flax.linen_models import (
    ATOL,
    CELLS,
    KEYS,
    LENGTHS,
    RTOL,
    B,
    DropoutCell,
    H,
    OwnCell,
    T,
    X,
    data,
    drawn,
    last_squares,
    own_params,
    pure,
)
from tests.recurrent.cells import Case
from tests.recurrent.oracles import assert_close, frozen, minus
from tests.slow import slow_but


def cell_grads(variables: Any, loss: Any = None, **options: Any) -> Any:
    """Gradients in the parameters of an OwnCell."""
    layer = ltd.linen.FlowRNN(OwnCell(), **options)
    loss = last_squares(layer) if loss is None else loss(layer)
    return jax.jit(jax.grad(loss))(variables, X)["params"]["cell"]


@pytest.mark.parametrize(
    "cell", slow_but(["ConvLSTMCell 1"], ["LSTMCell", "ConvLSTMCell 1"])
)
def test_gradient_is_that_of_unroll(cell: str):
    """Lengths become the mask, and the batch comes first."""
    module, x = CELLS[cell](), data(cell)
    layer = ltd.linen.FlowRNN(module, flow_weight=2.0, flow_reduction="mean")
    start = module.initialize_carry(jax.random.key(0), x[:, 0].shape)
    mask = jnp.arange(T)[:, None] < LENGTHS

    def found(variables: Any, x: Any) -> Any:
        y: Any = layer.apply(variables, x, seq_lengths=LENGTHS)
        return jnp.sum(y**2)

    def expected(variables: Any, x: Any) -> Any:
        _, y = ltd.unroll(
            pure(module),
            variables["params"]["cell"],
            start,
            jnp.swapaxes(x, 0, 1),
            flow_weight=2.0,
            flow_reduction="mean",
            mask=mask,
        )
        return jnp.sum(y**2)

    @jax.jit
    def both(variables: Any, x: jax.Array) -> Any:
        return [jax.grad(loss, (0, 1))(variables, x) for loss in (found, expected)]

    grads = both(drawn(layer, x), x)
    assert_close(grads[0], grads[1], RTOL, 10 * ATOL)


@pytest.mark.slow
def test_conv_lstm_by_the_explicit_formula():
    """‖δ J‖ / ‖δ‖ by a vmapped vjp: norms run over space, channels, and both leaves."""
    module, x = CELLS["ConvLSTMCell 2"](), data("ConvLSTMCell 2")
    cell, inputs = pure(module), jnp.swapaxes(x, 0, 1)
    layer = ltd.linen.FlowRNN(module, flow_weight=1.0)
    start = module.initialize_carry(jax.random.key(0), inputs[0].shape)
    read = lambda y: jnp.sum(y[-1] ** 2) / B

    def norm(tree: Any) -> jax.Array:
        squares = [x.reshape(T, B, -1) ** 2 for x in jax.tree.leaves(tree)]
        return jnp.sqrt(jnp.sum(jnp.concatenate(squares, -1), -1))

    def penalty(params: Any, held: Any) -> jax.Array:
        def passed_on(carry: Any, x: Any, error: Any) -> Any:
            return jax.vjp(lambda h: cell(params, h, x)[0], carry)[1](error)[0]

        gains = norm(jax.vmap(passed_on)(*held)) / norm(held.errors)
        return jnp.sum(jnp.mean((gains - 1) ** 2, axis=1))

    def loss(variables: Any, weight: Any) -> jax.Array:
        y: Any = layer.apply(variables, x, flow_weight=weight)
        return read(jnp.swapaxes(y, 0, 1))

    @jax.jit
    def both(variables: Any) -> Any:
        params = variables["params"]["cell"]
        case = Case(cell, lambda carry, y: carry[1], params, start, inputs)
        held = frozen(case, lambda final, y: read(y))
        off, on = (jax.grad(loss)(variables, weight) for weight in (0, 1.0))
        return off, on, jax.grad(penalty)(params, held)

    off, on, expected = both(drawn(layer, x))
    found = minus(on, off)["params"]["cell"]
    assert max(np.max(np.abs(g)) for g in jax.tree.leaves(expected)) > 1e-2
    assert_close(found, expected, 1e-4, 1e-5)


@pytest.mark.slow
def test_every_carry():
    """As from a scan, in the order of the outputs; gradients pass through them."""
    layer = ltd.linen.FlowRNN(nn.LSTMCell(H), flow_weight=1.0)
    call: Any = {"return_carry": "all", "reverse": True, "keep_order": True}
    cell, start = pure(nn.LSTMCell(H)), (jnp.zeros((B, H)), jnp.zeros((B, H)))

    def found(variables: Any) -> Any:
        out: Any = layer.apply(variables, X, **call)
        (c, h), y = out
        return jnp.sum(c**2 * h) + jnp.sum(y), out

    def expected(variables: Any) -> Any:
        def keep(params: Any, carry: Any, x: Any) -> Any:
            carry, y = cell(params, carry, x)
            return carry, (carry, y)

        params = variables["params"]["cell"]
        inputs = jnp.swapaxes(X, 0, 1)[::-1]
        _, out = ltd.unroll(keep, params, start, inputs, flow_weight=1.0)
        (c, h), y = out = jax.tree.map(lambda y: jnp.swapaxes(y[::-1], 0, 1), out)
        return jnp.sum(c**2 * h) + jnp.sum(y), out

    @jax.jit
    def both(x: jax.Array) -> Any:
        variables, shapes = layer.init(KEYS, x, **call), layer.init_with_output
        created = shapes(KEYS, x, **call)[0]
        grads = [jax.grad(f, has_aux=True)(variables) for f in (found, expected)]
        return created, grads

    created, grads = both(X)
    assert_close(grads[0], grads[1], RTOL, ATOL)
    assert_close(created, grads[1][1], RTOL, ATOL)


MASK = {"i": {"bias": True, "kernel": False}, "h": True}
CHOICES: list[tuple[Any, set[str]]] = [
    ("recurrent", {"hkernel"}),
    (MASK, {"ibias", "hkernel"}),
    (lambda params: freeze(jax.tree.map(lambda p: p.ndim == 1, params)), {"ibias"}),
]


def test_flow_params():
    variables = own_params()
    names = [("i", "bias"), ("i", "kernel"), ("h", "kernel")]
    off, whole = (cell_grads(variables, flow_weight=w) for w in (0, 2.0))
    assert all(np.max(np.abs(g)) > 1e-3 for g in jax.tree.leaves(minus(whole, off)))
    for chosen, touched in CHOICES:
        found = cell_grads(variables, flow_weight=2.0, flow_params=chosen)
        for i, j in names:
            expected = whole if i + j in touched else off
            assert_close(found[i][j], expected[i][j], RTOL, ATOL)


def test_the_weight_of_a_call_overrides_the_layers():
    variables = own_params()
    three = cell_grads(variables, flow_weight=3.0)
    weighted = lambda layer: last_squares(layer, flow_weight=jnp.float32(3))
    assert_close(cell_grads(variables, weighted, flow_weight=1.0), three, RTOL, ATOL)
    off = lambda layer: last_squares(layer, flow_weight=0.0)
    assert_close(
        cell_grads(variables, off, flow_weight=1.0), cell_grads(variables), RTOL, ATOL
    )


def test_a_fraction_draws_its_steps_from_the_stream():
    """Of two steps one is drawn; the mean of both draws is the whole gradient."""
    variables, x = own_params(), np.asarray(X)[:, :2]
    layer = ltd.linen.FlowRNN(OwnCell(), flow_weight=1.0, flow_fraction=0.5)

    def loss(variables: Any, key: Any) -> jax.Array:
        y: Any = layer.apply(variables, x, rngs={"flow": key})
        return jnp.sum(y[:, -1] ** 2)

    grad = jax.jit(jax.grad(loss))
    drawn = [grad(variables, jax.random.key(seed)) for seed in range(8)]
    biases = {float(g["params"]["cell"]["i"]["bias"][0]): g for g in drawn}
    assert len(biases) == 2
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *map(jax.device_get, biases.values()))
    whole = ltd.linen.FlowRNN(OwnCell(), flow_weight=1.0)
    read: Any = lambda v: whole.apply(v, x)
    expected = jax.jit(jax.grad(lambda v: jnp.sum(read(v)[:, -1] ** 2)))(variables)
    assert_close(mean, expected, RTOL, ATOL)


def test_a_fraction_needs_the_stream_where_it_draws():
    layer = ltd.linen.FlowRNN(OwnCell(), flow_weight=1.0, flow_fraction=0.5)
    jax.eval_shape(layer.init, jax.random.key(0), X)
    with pytest.raises(flax.errors.InvalidRngError, match='"flow"'):
        layer.apply(own_params(), X)
    jax.eval_shape(partial(layer.apply, flow_weight=0), own_params(), X)


def test_carry_clip():
    variables, clip = own_params(), ltd.clip_carry_gradient(1e-2)

    def of_layer(variables: Any, bound: Any) -> Any:
        bounded = ltd.clip_carry_gradient(bound)
        layer = ltd.linen.FlowRNN(OwnCell(), carry_clip=bounded)
        return jax.grad(last_squares(layer))(variables, X)

    found = jax.jit(of_layer)(variables, 1e-2)

    def loss(params: Any) -> jax.Array:
        start, inputs = jnp.full((B, H), 0.1), jnp.swapaxes(X, 0, 1)
        _, y = ltd.unroll(pure(OwnCell()), params, start, inputs, carry_clip=clip)
        return jnp.sum(y[-1] ** 2) / B

    expected = jax.jit(jax.grad(loss))(variables["params"]["cell"])
    assert_close(found["params"]["cell"], expected, RTOL, ATOL)
    change = minus(expected, cell_grads(variables))
    assert np.max(np.abs(change["h"]["kernel"])) > 1e-3


def test_a_cell_with_dropout():
    """Ω with the masks that the layer drew, handed to `unroll` as inputs."""
    streams: Any = {"params": False, "dropout": True}
    layer = ltd.linen.FlowRNN(DropoutCell(), split_rngs=streams, flow_weight=1.0)
    variables, rngs = own_params(), {"dropout": jax.random.key(2)}

    def found(variables: Any) -> Any:
        y: Any = layer.apply(variables, X, rngs=rngs)
        return jnp.sum(y**2), y

    grads, y = jax.jit(jax.grad(found, has_aux=True))(variables)
    masks = jnp.swapaxes(y != 0, 0, 1) / 0.7

    def cell(params: Any, h: Any, at: Any) -> Any:
        x, mask = at
        h, _ = pure(OwnCell())(params, h, x)
        h = h * mask
        return h, h

    def expected(params: Any) -> Any:
        start, inputs = jnp.full((B, H), 0.1), (jnp.swapaxes(X, 0, 1), masks)
        _, y = ltd.unroll(cell, params, start, inputs, flow_weight=1.0)
        return jnp.sum(y**2)

    expected_grads = jax.jit(jax.grad(expected))(variables["params"]["cell"])
    assert_close(grads["params"]["cell"], expected_grads, 1e-4, 1e-5)


def test_bad_arguments():
    layer: Any = ltd.linen.FlowRNN
    cell, variables = OwnCell(), own_params()
    with pytest.raises(ValueError, match=r"`flow_weight` must be .* got -1"):
        layer(cell, flow_weight=-1)
    with pytest.raises(ValueError, match=r"`flow_fraction` must be .* got 0"):
        layer(cell, flow_fraction=0)
    with pytest.raises(ValueError, match=r"`flow_form` must be .* got 'median'"):
        layer(cell, flow_form="median")
    with pytest.raises(ValueError, match=r"`return_carry` must be .* got 'last'"):
        layer(cell, return_carry="last")
    with pytest.raises(ValueError, match=r"`return_carry` must be .* got 'last'"):
        layer(cell).apply(variables, X, return_carry="last")
    with pytest.raises(ValueError, match=r"`flow_params` must be one of .* got 'some'"):
        layer(cell, flow_params="some")
    with pytest.raises(TypeError, match=r"`carry_clip` must be .* got 1\.0"):
        layer(cell, carry_clip=1.0)
    with pytest.raises(TypeError, match=r"`cell` .* flax\.linen .* got a flax\.nnx\."):
        layer(nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"h": True}, r"prefix of the cell's parameters \['h/kernel', .* got "),
        ({"h": 1, "i": 0}, "tree of booleans .* got "),
        (False, "must be a selection of at least one of .*; got False"),
    ],
)
def test_flow_params_that_do_not_fit(chosen: Any, message: str):
    layer = ltd.linen.FlowRNN(OwnCell(), flow_params=chosen, flow_weight=1.0)
    with pytest.raises(ValueError, match=message):
        layer.apply(own_params(), X)
