"""Batches that are divided along an axis of ``vmap``, as they are among devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.transforms.factories import loose

_rng = np.random.default_rng(0)
X = _rng.standard_normal((6, 3, 4)).astype(np.float32)
Y = X.sum((1, 2))
PARAMS = {"w": np.eye(4, dtype=np.float32) / 2, "v": np.full(4, 0.3, np.float32)}
VECTOR = jax.tree.map(
    lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), PARAMS
)


def _model(x: Any, y: Any, mean: Callable[[Any], Any] = jnp.mean) -> Any:
    """Outputs with hidden states, and a loss of the examples that are given."""

    def predict(params: Any) -> Any:
        hidden = [jnp.tanh(x[:, 0] @ params["w"])]
        for t in (1, 2):
            hidden.append(jnp.tanh(hidden[-1] @ params["w"] + x[:, t]))
        return hidden[-1] @ params["v"], jnp.stack(hidden, 1)

    return predict, lambda outputs: mean((outputs - y) ** 2)


def _divided(function: Callable[..., Any]) -> Any:
    """What three parts of the batch come to, with the axis ``"x"`` along them."""
    parts = [array.reshape(3, 2, *array.shape[1:]) for array in (X, Y)]
    return jax.jit(jax.vmap(function, axis_name="x"))(*parts)


def _assert_each_part_has(found: Any, expected: Any) -> None:
    for parts, whole in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        for part in parts:
            np.testing.assert_allclose(part, whole, rtol=2e-3, atol=1e-5)


def _mean_of_all(x: jax.Array) -> jax.Array:
    return jax.lax.pmean(jnp.mean(x), "x")


@pytest.mark.parametrize("mean", [jnp.mean, _mean_of_all])
def test_a_product_is_that_of_the_whole_batch(mean: Any):
    def product(x: Any, y: Any, axis_name: str | None = "x", of: Any = mean):
        predict, loss = _model(x, y, of)
        outputs = lambda params: predict(params)[0]
        return ltd.gauss_newton_product(
            outputs, loss, PARAMS, VECTOR, axis_name=axis_name
        )

    _assert_each_part_has(_divided(product), product(X, Y, None, jnp.mean))


@pytest.mark.parametrize("names_value_fn", [False, True])
def test_an_update_is_that_of_the_whole_batch(names_value_fn: bool):
    """With few iterations: where many end may hang on the last digit."""

    def update(x: Any, y: Any, axis_name: str | None = "x") -> Any:
        predict, loss = _model(x, y)
        value_fn = lambda params: loss(predict(params)[0])
        gradient = jax.grad(value_fn)(PARAMS)
        if axis_name:
            gradient = jax.lax.pmean(gradient, axis_name)
        tx = loose(
            ltd.hessian_free(
                structural_damping=0.1, max_cg_iterations=5, axis_name=axis_name
            )
        )
        given = {"predict": predict, "loss": loss}
        if names_value_fn:
            given["value_fn"] = value_fn
        step, state = tx.update(gradient, tx.init(PARAMS), PARAMS, **given)
        return step, state.search.reduction_ratio, state.search.damping

    _assert_each_part_has(
        _divided(update), jax.jit(lambda x, y: update(x, y, None))(X, Y)
    )


def test_a_bad_axis_name_is_refused():
    with pytest.raises(ValueError, match=r"`axis_name` must be .* got 3"):
        ltd.hessian_free(axis_name=3)  # type: ignore[arg-type]
    predict, loss = _model(X, Y)
    with pytest.raises(ValueError, match=r"`axis_name` must be .* got 3"):
        ltd.gauss_newton_product(predict, loss, PARAMS, PARAMS, axis_name=3)  # type: ignore[arg-type]
