"""`FlowRNN` with Ω on: what its gradient is, what it reaches, how its weight is set."""

from typing import Any

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import (
    ATOL,
    LENGTHS,
    RTOL,
    B,
    H,
    Stacked,
    T,
    X,
    pure,
    simple_layer,
    squares,
)
from tests.recurrent.oracles import assert_close, assert_equal, minus
from tests.slow import slow_but


def grads_of(model: Any, loss: Any = squares, x: Any = X, **call: Any) -> Any:
    """Gradients in the parameters as a pure dict, and in the inputs."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def run(params: Any, x: Any, call: Any) -> Any:
        return loss(nnx.merge(graphdef, params, rest, copy=True), x, **call)

    params, x = jax.jit(jax.grad(run, (0, 1)))(params, x, call)
    return nnx.to_pure_dict(params), x


def weighted(model: Any, x: Any, weight: Any) -> Any:
    return jnp.sum(model(x, flow_weight=weight)[:, -1] ** 2) / B


@pytest.mark.parametrize(
    ("form", "reduction"), [("ratio", "mean"), ("squared_ratio", "sum")]
)
def test_gradient_is_that_of_unroll(form: Any, reduction: Any):
    """Lengths become the mask, and the batch comes first."""
    options: Any = {"flow_form": form, "flow_reduction": reduction}
    layer = simple_layer(flow_weight=2.0, **options)
    read = lambda model, x: jnp.sum(model(x, seq_lengths=LENGTHS) ** 2)
    found, found_x = grads_of(layer, read)
    params, cell = pure(layer.cell)
    mask = jnp.arange(T)[:, None] < LENGTHS

    def loss(p: Any, x: Any) -> Any:
        inputs = jnp.swapaxes(x, 0, 1)
        _, y = ltd.unroll(
            cell, p, jnp.zeros((B, H)), inputs, flow_weight=2.0, mask=mask, **options
        )
        return jnp.sum(y**2)

    expected, expected_x = jax.jit(jax.grad(loss, (0, 1)))(params, X)
    cell_grads = found["cell"]
    named = {
        "W": cell_grads["dense_h"]["kernel"],
        "U": cell_grads["dense_i"]["kernel"],
        "b": cell_grads["dense_i"]["bias"],
    }
    assert_close(named, expected, RTOL, ATOL)
    assert_close(found_x, expected_x, RTOL, ATOL)


def test_reaches_the_cells_of_its_own_layers_alone():
    off, on = grads_of(Stacked((0.0, 0.0))), grads_of(Stacked((0.0, 2.0)))
    change = minus(on, off)
    first, second = (change[0]["rnns"][i]["cell"] for i in (0, 1))
    for untouched in (first, change[0]["head"], change[1]):
        assert_close(untouched, jax.tree.map(jnp.zeros_like, untouched), 0, ATOL)
    assert all(np.max(np.abs(g)) > 1e-3 for g in jax.tree.leaves(second))


FILTERS: list[tuple[Any, set[str]]] = [
    ("recurrent", {"W"}),
    (nnx.PathContains("bias"), {"b"}),
    (nnx.Any(nnx.PathContains("dense_h"), nnx.PathContains("bias")), {"W", "b"}),
]


def test_flow_params():
    def named(**options: Any) -> Any:
        cell = grads_of(simple_layer(**options))[0]["cell"]
        return {
            "W": cell["dense_h"]["kernel"],
            "U": cell["dense_i"]["kernel"],
            "b": cell["dense_i"]["bias"],
        }

    off, whole = named(), named(flow_weight=2.0)
    assert all(np.max(np.abs(g)) > 1e-3 for g in minus(whole, off).values())
    for chosen, touched in FILTERS:
        found = named(flow_weight=2.0, flow_params=chosen)
        expected = {k: (whole if k in touched else off)[k] for k in off}
        assert_close(found, expected, RTOL, ATOL)


def test_the_weight_of_a_call_overrides_the_layers():
    one = grads_of(simple_layer(flow_weight=1.0), weighted, weight=None)
    three = grads_of(simple_layer(flow_weight=3.0), weighted, weight=None)
    off = grads_of(simple_layer(), weighted, weight=None)
    assert_close(grads_of(simple_layer(), weighted, weight=3.0), three, RTOL, ATOL)
    graphdef, state = nnx.split(simple_layer(flow_weight=1.0))

    @jax.jit
    def reweighted(weight: Any) -> Any:
        return grads_of(nnx.merge(graphdef, state), weighted, weight=weight)

    assert_close(reweighted(3.0), three, RTOL, ATOL)
    assert_close(reweighted(0.0), off, RTOL, ATOL)
    change, thrice = minus(one, off), minus(three, off)
    assert_close(jax.tree.map(lambda g: 3 * g, change), thrice, RTOL, 10 * ATOL)


def test_a_weight_schedule_under_jit_traces_once():
    schedule = optax.linear_schedule(2.0, 0.0, 2)
    graphdef, params, rest = nnx.split(simple_layer(), nnx.Param, ...)

    @jax.jit
    @jax.grad
    @chex.assert_max_traces(n=1)
    def grad(params: Any, count: Any) -> Any:
        model = nnx.merge(graphdef, params, rest, copy=True)
        return weighted(model, X, schedule(count))

    two, one, none = (grad(params, jnp.int32(count)) for count in range(3))
    half = jax.tree.map(lambda a, b: (a + b) / 2, two, none)
    assert_close(jax.tree.leaves(one), jax.tree.leaves(half), RTOL, ATOL)
    assert np.max(np.abs(jax.tree.leaves(minus(two, none))[0])) > 1e-3


@pytest.mark.parametrize("lead", [pytest.param((), marks=pytest.mark.slow), (2, 3)])
def test_any_number_of_batch_axes(lead: tuple[int, ...]):
    """Ω is a mean over all batch axes: those of one flat axis."""
    x = np.sin(np.arange(np.prod([*lead, T, 2]), dtype=np.float32))
    total = lambda model, x: jnp.sum(model(x) ** 2)
    layer = simple_layer(flow_weight=1.0)
    found, found_x = grads_of(layer, total, x.reshape(*lead, T, 2))
    flat, flat_x = grads_of(layer, total, x.reshape(-1, T, 2))
    assert_close(found, flat, RTOL, ATOL)
    assert_close(found_x.reshape(flat_x.shape), flat_x, RTOL, ATOL)


def test_a_layer_is_saved_and_cloned_with_its_options():
    layer = simple_layer(flow_weight=2.0, flow_form="squared_ratio")
    assert_equal(grads_of(nnx.clone(layer)), grads_of(layer))


@pytest.mark.parametrize("how", slow_but(["jvp"], ["jvp", "hessian", "grad of grad"]))
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_other_derivatives(how: str, weight: float):
    """With Ω off those of `nnx.RNN`; with Ω on a reason why not."""

    def derivative(layer: Any) -> Any:
        graphdef, params, rest = nnx.split(layer, nnx.Param, ...)
        vector, unravel = jax.flatten_util.ravel_pytree(params)

        def loss(v: Any) -> Any:
            return squares(nnx.merge(graphdef, unravel(v), rest, copy=True), X)

        if how == "jvp":
            return jax.jit(lambda v: jax.jvp(loss, (v,), (v,))[1])(vector)
        if how == "hessian":
            return jax.jit(jax.hessian(loss))(vector)
        return jax.jit(jax.grad(lambda v: jnp.sum(jax.grad(loss)(v) ** 2)))(vector)

    layer = simple_layer(flow_weight=weight)
    if weight:
        with pytest.raises(NotImplementedError, match="while Ω is on"):
            derivative(layer)
    else:
        expected = derivative(nnx.RNN(layer.cell))
        np.testing.assert_allclose(derivative(layer), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("time_major", "weight"), [(True, 0.0), (False, 1.0)])
def test_every_carry(time_major: bool, weight: float):
    """As from a scan, in the order of the outputs; gradients pass through them."""
    options: Any = {"return_carry": "all", "reverse": True, "time_major": time_major}
    cell = nnx.LSTMCell(2, H, rngs=nnx.Rngs(0))
    layer = ltd.FlowRNN(cell, flow_weight=weight, keep_order=True, **options)
    graphdef, params, rest = nnx.split(cell, nnx.Param, ...)
    merge = lambda params: nnx.merge(graphdef, params, rest, copy=True)
    axes = lambda y: y if time_major else jnp.swapaxes(y, 0, 1)
    x = jnp.swapaxes(X, 0, 1) if time_major else X

    def found(params: Any) -> Any:
        (c, h), y = out = _with(layer, merge(params))(x)
        return jnp.sum(c**2 * h) + jnp.sum(y), out

    def expected(params: Any) -> Any:
        def step(params: Any, carry: Any, x: Any) -> Any:
            carry, y = merge(params)(carry, x)
            return carry, (carry, y)

        start = (jnp.zeros((B, H)), jnp.zeros((B, H)))
        inputs = jnp.swapaxes(X, 0, 1)[::-1]
        _, out = ltd.unroll(step, params, start, inputs, flow_weight=weight)
        (c, h), y = out = jax.tree.map(lambda y: axes(y[::-1]), out)
        return jnp.sum(c**2 * h) + jnp.sum(y), out

    grads = [jax.jit(jax.grad(f, has_aux=True))(params) for f in (found, expected)]
    assert_close(grads[0], grads[1], RTOL, ATOL)


def _with(layer: ltd.FlowRNN, cell: Any) -> ltd.FlowRNN:
    copy = nnx.clone(layer)
    copy.cell = cell
    return copy


def test_return_carry_is_a_boolean_or_all():
    message = "`return_carry` must be True, False or 'all'; got 'last'"
    wrong: Any = "last"
    with pytest.raises(ValueError, match=message):
        simple_layer(return_carry=wrong)
    with pytest.raises(ValueError, match=message):
        simple_layer()(X, return_carry=wrong)
