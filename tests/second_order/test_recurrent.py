"""Products and steps through recurrent layers, by the derivative that these have."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

import optax_ltd as ltd
from tests.slow import slow_but
from tests.transforms.factories import loose

T, B, D, H = 6, 3, 2, 4
_X = jax.random.normal(jax.random.key(0), (B, T, D))


def _cell(params: Any, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    h = jnp.tanh(h @ params["recurrent"] + x @ params["input"])
    return h, h


def _by_scan(params: Any, x: jax.Array) -> jax.Array:
    step = functools.partial(_cell, params)
    return jax.lax.scan(step, jnp.zeros((len(x), H)), jnp.swapaxes(x, 0, 1))[1]


def _by_unroll(params: Any, x: jax.Array) -> jax.Array:
    carry = jnp.zeros((len(x), H))
    return ltd.unroll(_cell, params, carry, jnp.swapaxes(x, 0, 1), unroll=1)[1]


def _params(hidden: int = H) -> Any:
    keys = jax.random.split(jax.random.key(1), 3)
    return {
        "recurrent": jax.nn.initializers.orthogonal()(keys[0], (hidden, hidden)),
        "input": jax.random.normal(keys[1], (D, hidden)) / 2,
        "output": jax.random.normal(keys[2], (hidden, 1)) / 2,
    }


def _product(run: Callable[..., Any], params: Any, vector: Any) -> Any:
    predict = lambda params: run(params, _X)
    loss = lambda z: -jnp.mean(jax.nn.log_softmax(z)[..., 0])
    return ltd.gauss_newton_product(predict, loss, params, vector)


def _loops_that_add_up(run: Callable[..., Any], params: Any) -> int:
    """How many loops of a product have a result of the shape of the matrix."""
    jaxpr = jax.make_jaxpr(functools.partial(_product, run))(params, params)
    loops, stack = [], [jaxpr.jaxpr]
    while stack:
        for equation in stack.pop().eqns:
            if equation.primitive.name == "scan":
                loops.append(equation)
            inside = jax.tree.leaves(list(equation.params.values()))
            parts = [getattr(part, "jaxpr", part) for part in inside]
            stack += [part for part in parts if hasattr(part, "eqns")]
    assert loops
    shapes = [[v.aval.shape for v in loop.outvars] for loop in loops]
    return sum((H, H) in shape for shape in shapes)


def test_products_through_unroll_are_those_of_scan_without_sums_in_the_loop():
    """One product over all time steps for each matrix, forwards and back."""
    params, vector = _params(), jax.tree.map(jnp.sin, _params())
    for tree in (params, vector):
        tree.pop("output")
    for x, y in zip(
        jax.tree.leaves(_product(_by_unroll, params, vector)),
        jax.tree.leaves(_product(_by_scan, params, vector)),
        strict=True,
    ):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    assert _loops_that_add_up(_by_scan, params) == 1
    assert _loops_that_add_up(_by_unroll, params) == 0


def _pure(
    kind: Any, *, cell: Any = nnx.SimpleCell, **options: Any
) -> tuple[Callable[..., jax.Array], Any]:
    """A function of a layer's parameters and its inputs, and the parameters."""
    layer = kind(cell(D, H, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1), **options)
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)
    run = lambda params, x: nnx.merge(graphdef, params, rest, copy=True)(x)
    return run, nnx.as_pure(params)


def test_products_through_a_layer_have_no_sums_in_the_loop():
    assert _loops_that_add_up(*_pure(nnx.RNN)) == 1
    assert _loops_that_add_up(*_pure(ltd.FlowRNN)) == 0


def test_an_update_through_a_layer_lowers_for_every_platform():
    """The layer has another loop on each."""
    run, params = _pure(ltd.FlowRNN)
    tx = ltd.hessian_free(structural_damping=1 / 30)

    def predict(params: Any) -> tuple[jax.Array, jax.Array]:
        hidden = run(params, _X)
        return hidden[:, -1], hidden

    given = {"predict": predict, "loss": lambda outputs: jnp.mean(outputs**2)}
    update = jax.jit(lambda *args: tx.update(*args, **given))
    exported = jax.export.export(update, platforms=["cpu", "cuda", "tpu"])(
        params, tx.init(params), params
    )
    assert len(exported.platforms) == 3


@pytest.mark.parametrize(
    "kind", slow_but([nnx.SimpleCell], [nnx.SimpleCell, nnx.OptimizedLSTMCell])
)
def test_products_through_a_layer_are_those_of_flax(kind: Any):
    def product(layer: Any) -> np.ndarray:
        run, params = _pure(layer, cell=kind)
        loss = lambda z: jnp.mean(jnp.sum((z - 0.5) ** 2, -1))
        vector = jax.tree.map(jnp.sin, params)
        found = ltd.gauss_newton_product(lambda p: run(p, _X), loss, params, vector)
        assert jax.tree.structure(found) == jax.tree.structure(params)
        return np.asarray(ravel_pytree(found)[0])

    ours, theirs = product(ltd.FlowRNN), product(nnx.RNN)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_with_the_regulariser_on_there_is_no_forward_mode():
    run, params = _pure(ltd.FlowRNN, flow_weight=1.0)
    with pytest.raises(NotImplementedError):
        ltd.gauss_newton_product(lambda p: run(p, _X), jnp.sum, params, params)


@pytest.mark.slow
def test_a_small_net_learns_to_add_in_a_few_steps():
    """Farther than plain descent comes in ten times as many."""
    hidden, task = 8, ltd.tasks.addition(10)
    batch = task.sample(jax.random.key(2), 40)
    x, y = batch.inputs, batch.targets
    tx = loose(ltd.hessian_free(structural_damping=1 / 30, max_cg_iterations=60))

    def predict(params: Any) -> Any:
        carry = jnp.zeros((len(x), hidden))
        h, states = ltd.unroll(_cell, params, carry, jnp.swapaxes(x, 0, 1), unroll=1)
        return h @ params["output"], jnp.swapaxes(states, 0, 1)

    loss = lambda z: jnp.mean((z - y.reshape(z.shape)) ** 2)
    value = jax.value_and_grad(lambda params: loss(predict(params)[0]))

    @jax.jit
    def newton(params: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            params, state = carry
            before, gradient = value(params)
            given = {"predict": predict, "loss": loss}
            updates, state = tx.update(gradient, state, params, **given)
            return (optax.apply_updates(params, updates), state), before

        return jax.lax.scan(step, (params, tx.init(params)), None, 15)

    @jax.jit
    def descent(params: Any) -> Any:
        def step(params: Any, _: None) -> Any:
            before, gradient = value(params)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), before

        return jax.lax.scan(step, params, None, 150)

    (_, state), fast = newton(_params(hidden))
    _, slow = descent(_params(hidden))
    assert (np.diff(fast) <= 0).all()
    assert fast[-1] < slow[-1] / 2
    assert state.search.refused_nonfinite == 0
