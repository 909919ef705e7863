"""`remat` and `truncate` of both layers do what `unroll` does with them."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import optax_ltd as ltd
from tests.flax.linen_models import drawn
from tests.slow import slow_but

WINDOW = 3
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 3)), jnp.float32)


@cache
def _nnx(**options: Any) -> tuple[Any, Any]:
    model = ltd.FlowRNN(nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0)), **options)
    graphdef, state = nnx.split(model)
    report = ltd.value_and_grad(lambda model, x: jnp.sum(model(x) ** 2))
    run = jax.jit(lambda state, x: report(nnx.merge(graphdef, state), x))
    (_, flow), grads = run(state, X)
    return flow[""], nnx.to_pure_dict(grads)


@cache
def _linen(**options: Any) -> tuple[Any, Any]:
    model = ltd.linen.FlowRNN(nn.SimpleCell(4), **options)

    def loss(params: Any, x: Any) -> jax.Array:
        outputs: Any = model.apply(params, x)
        return jnp.sum(outputs**2)

    report = ltd.linen.value_and_grad(loss)
    (_, flow), grads = jax.jit(report)(drawn(model, X), X)
    return flow[""], grads


def _assert_close(left: Any, right: Any) -> None:
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


each_layer = pytest.mark.parametrize("run", slow_but([_nnx], [_nnx, _linen]))


@each_layer
def test_remat_changes_no_number(run: Any):
    _assert_close(run(flow_weight=1.0, remat=True), run(flow_weight=1.0))


@each_layer
def test_truncate_drops_what_it_tells(run: Any):
    whole, gradient = run()
    windows, truncated = run(truncate=WINDOW)
    borders = np.arange(7) % WINDOW == 0
    assert np.all((np.asarray(windows.dropped_norms) > 0) == borders[:, None])
    assert np.all(np.asarray(whole.dropped_norms)[1:] == 0)
    # The last window does not know that it is one.
    last, expected = (np.asarray(flow.error_norms)[6] for flow in (windows, whole))
    np.testing.assert_allclose(last, expected, rtol=1e-5)
    differ = jax.tree.map(lambda a, b: not np.allclose(a, b), gradient, truncated)
    assert any(jax.tree.leaves(differ))


def test_a_carried_state_between_calls_is_the_same_as_windows_in_one():
    model = ltd.FlowRNN(nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0)), return_carry=True)

    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def chunked(params: Any) -> jax.Array:
        model = nnx.merge(graphdef, params, rest, copy=True)
        carry, total = None, jnp.zeros(())
        for start in range(0, 7, WINDOW):
            chunk = X[:, start : start + WINDOW]
            carry, y = model(chunk, initial_carry=jax.lax.stop_gradient(carry))
            total += jnp.sum(y**2)
        return total

    grads = jax.jit(jax.grad(chunked))(params)
    _assert_close(nnx.to_pure_dict(grads), _nnx(truncate=WINDOW)[1])


@each_layer
def test_a_bad_window(run: Any):
    with pytest.raises(ValueError, match="`truncate` must be None or an int >= 1"):
        run(truncate=0)
