"""Ω at a share of the time steps: unbiased, and the loss untouched."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import case

T, B, H = 8, 2, 3


def _cell(w: Any, h: Any, x: Any) -> Any:
    h = jnp.tanh(h @ w["W"] + x @ w["U"])
    return h, h


def _gradient(key: Any, **options: Any) -> Any:
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    params, x = {"W": 0.5 * draw(H, H), "U": draw(1, H)}, draw(T, B, 1)

    @jax.jit
    @jax.grad
    def loss(params: Any) -> Any:
        _, y = ltd.unroll(_cell, params, jnp.zeros((B, H)), x, flow_key=key, **options)
        return jnp.sum(y[-1] ** 2)

    return loss(params)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_mean_over_every_draw_of_one_step_is_the_whole(reduction: str) -> None:
    options = {"flow_weight": 1.0, "flow_reduction": reduction}
    keys = jax.random.split(jax.random.key(1), 400)
    one = jax.jit(jax.vmap(lambda k: _gradient(k, flow_fraction=1 / T, **options)))
    draws = jax.tree.map(np.asarray, one(keys))
    whole = _gradient(None, **options)
    # One of T steps is drawn, so T gradients differ, and their mean is exact.
    distinct = np.unique(draws["W"].reshape(400, -1).round(5), axis=0)
    assert len(distinct) == T
    np.testing.assert_allclose(
        distinct.mean(axis=0), np.ravel(whole["W"]), rtol=1e-4, atol=2e-5
    )


def test_the_gradient_of_the_loss_is_not_sampled() -> None:
    off = _gradient(None)
    options: Any = {
        "flow_weight": 1.0,
        "flow_fraction": 0.5,
        "flow_params": {"W": True, "U": False},
    }
    keys = jax.random.split(jax.random.key(0), 2)
    drawn = jax.jit(jax.vmap(lambda key: _gradient(key, **options)))(keys)
    drawn = jax.tree.map(np.asarray, drawn)
    for gradient in drawn["U"]:
        np.testing.assert_allclose(gradient, off["U"], rtol=1e-5)
    assert np.any(drawn["W"][0] != drawn["W"][1])


def test_every_step_drawn_is_every_step() -> None:
    # A share that rounds to all T steps.
    options = {"flow_weight": 1.0, "flow_fraction": 1 - 1e-9}
    drawn = _gradient(jax.random.key(0), **options)
    whole = _gradient(None, flow_weight=1.0)
    for name, value in whole.items():
        np.testing.assert_allclose(drawn[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan"), True, "half"])
def test_fraction_out_of_range(fraction: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^`flow_fraction` must be a number > 0 and <= 1; got "
    ):
        _gradient(jax.random.key(0), flow_weight=1.0, flow_fraction=fraction)


def test_fraction_needs_a_key() -> None:
    with pytest.raises(
        ValueError,
        match=r"^`flow_key` must be a PRNG key with flow_fraction=0.5; got None",
    ):
        _gradient(None, flow_weight=1.0, flow_fraction=0.5)


def test_no_steps_at_all() -> None:
    c = case("simple", steps=0)
    options: Any = {"flow_weight": 1.0, "flow_fraction": 0.5}
    carry, outputs = ltd.unroll(
        c.cell, c.params, c.carry, c.inputs, flow_key=jax.random.key(0), **options
    )
    np.testing.assert_array_equal(carry, c.carry)
    assert outputs.shape == (0, *c.carry.shape)
