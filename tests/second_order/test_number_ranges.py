"""Hessian-free optimisation at the ends of the number line, and of any width."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.second_order.factories import descend, gradient_of_loss, hessian_free_update
from tests.transforms.factories import flat, loose, same


def test_very_large_and_very_small_gradients():
    """The step is linear in the gradient, at both ends of the number line."""
    gradient = gradient_of_loss()
    linear = lambda f: jax.tree.map(lambda x: jnp.float32(f) * x, gradient)
    plain, warm = hessian_free_update(gradient)
    _, tiny = hessian_free_update(linear(2.0**-90))
    np.testing.assert_allclose(
        2.0**90 * flat(tiny.solution), flat(warm.solution), rtol=1e-3
    )
    # The last solution was for a gradient of another size.
    cold = warm._replace(solution=jax.tree.map(jnp.zeros_like, warm.solution))
    of_tiny = lambda state: hessian_free_update(linear(2.0**-90), state)[1].solution
    assert same(of_tiny(warm), of_tiny(cold))
    step, huge = hessian_free_update(linear(2.0**80))
    assert np.isfinite(flat(step)).all()
    assert huge.search.refused_nonfinite == 0
    assert flat(plain).any()


def test_a_step_beyond_the_dtype_of_the_gradient_is_shortened():
    tx, w = loose(ltd.hessian_free(1e-6)), jnp.zeros(1)
    loss = lambda z: 0.005 * jnp.sum((z - 1e6) ** 2)
    gradient = jax.grad(loss)(w).astype(jnp.float16)
    update = jax.jit(
        lambda g: tx.update(g, tx.init(w), w, predict=lambda w: w, loss=loss)
    )
    step, state = update(gradient)
    assert step.dtype == jnp.float16
    np.testing.assert_allclose(step, 0.8**13 * 1e6, rtol=1e-3)
    assert float(jnp.finfo(jnp.float16).max) < 0.8**12 * 1e6
    np.testing.assert_allclose(state.record.scale, 0.8**13, rtol=1e-5)
    assert state.search.reduction_ratio == -jnp.inf  # Of what was proposed.
    np.testing.assert_allclose(state.search.damping, 1.5e-6, rtol=1e-5)


def test_the_step_that_is_judged_is_the_one_that_comes_out():
    """Rounded to bfloat16, the whole step would raise this loss from .09 to .15."""
    loss = lambda z: (z[0] - 0.3) ** 2 + 1e6 * (1.3 * z[0] - z[1]) ** 2
    tx, w = loose(ltd.hessian_free(1e-3)), jnp.zeros(2)
    gradient = jax.grad(loss)(w).astype(jnp.bfloat16)
    step, state = jax.jit(
        lambda g: tx.update(g, tx.init(w), w, predict=lambda w: w, loss=loss)
    )(gradient)
    lower = loss(optax.apply_updates(w, step)) < loss(w)
    assert lower | (state.search.refused_no_decrease == 1)


@pytest.mark.parametrize("exponent", [0.0, 0.75])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e18, 1e20, 1e25, 1e30, 1e35])
def test_a_loss_of_any_size(size: float, exponent: float):
    """With a λ that is small beside the curvature, all find the same."""
    damping = min(max(1e-3 * size, 1e-12), 1e12)
    tx = ltd.hessian_free(damping, preconditioner_exponent=exponent)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3)), jnp.float32)
    predict = lambda w: jnp.tanh(x @ w)
    loss = lambda z: size * jnp.mean((z - x[:, 0] / 2) ** 2)
    start = jnp.full(3, 0.1)
    (_, state), values = descend(tx, predict, loss, start, updates=8)
    assert values[-1] < 0.051 * values[0]  # The least that there is is .0502.
    assert state.search.refused_nonfinite == 0


def test_a_loss_of_minus_infinity_is_no_better():
    w, tx = jnp.ones(2), loose(ltd.hessian_free())
    loss = lambda z: jnp.sum(jnp.where(z > 0.999, z**2, -jnp.inf))
    step, state = jax.jit(
        lambda w: tx.update(
            jax.grad(loss)(w), tx.init(w), w, predict=lambda w: w, loss=loss
        )
    )(w)
    assert np.isfinite(loss(w + step))
    assert state.search.reduction_ratio == -jnp.inf


@pytest.mark.parametrize(
    ("of_params", "of_gradient"),
    [(jnp.float32, jnp.float64), (jnp.float64, jnp.float32)],
)
def test_gradients_of_another_width(of_params: Any, of_gradient: Any):
    with jax.enable_x64(True):
        tx, w = loose(ltd.hessian_free()), jnp.zeros(2, of_params)
        given: Any = {"predict": lambda w: w, "loss": lambda z: jnp.sum((z - 1) ** 2)}
        gradient = jnp.full(2, -2, of_gradient)
        step, state = jax.jit(lambda g: tx.update(g, tx.init(w), w, **given))(gradient)
        assert (step.dtype, state.solution.dtype) == (of_gradient, of_params)
        np.testing.assert_allclose(step, 2 / 2.1, rtol=1e-6)
        product = ltd.gauss_newton_product(
            given["predict"], given["loss"], w, jnp.array([1, 2], of_gradient)
        )
        assert product.dtype == of_gradient
        np.testing.assert_allclose(product, [2, 4], rtol=1e-6)
        whole = ltd.gauss_newton_product(**given, params=w, vector=jnp.array([1, 2]))
        np.testing.assert_allclose(whole, [2, 4], rtol=1e-6)
        assert whole.dtype == of_params


@pytest.mark.parametrize("turned", [False, True])
def test_injected_numbers_beside_leaves_of_several_widths(turned: bool):
    with jax.enable_x64(True):
        narrow, wide = [jnp.float32, jnp.float64][:: -1 if turned else 1]
        params = {"b": jnp.zeros((), narrow), "w": jnp.ones(3, wide)}
        factory: Any = optax.inject_hyperparams(
            ltd.hessian_free,
            static_args=("max_cg_iterations", "hidden_distance", "structural_damping"),
        )
        tx = loose(factory())
        given = {
            "predict": lambda p: p["w"] + p["b"],
            "loss": lambda z: jnp.sum(z**2),
        }
        step, _ = jax.jit(lambda g: tx.update(g, tx.init(params), params, **given))(
            jax.grad(lambda p: given["loss"](given["predict"](p)))(params)
        )
        assert given["loss"](given["predict"](optax.apply_updates(params, step))) < 0.1


def test_a_wider_step_is_judged_as_it_is_added():
    """Optax adds first and then rounds; here the whole step would raise the loss."""
    w = jnp.ones(2, jnp.bfloat16)
    predict = lambda w: w.astype(jnp.float32)
    loss = lambda z: (
        1e6 * jax.nn.relu(z[0] - 1.005) ** 2
        + 100 * (z[0] - 1.00391) ** 2
        + 100 * (z[1] - 1.05) ** 2
    )
    tx = loose(ltd.hessian_free(1e-3))
    gradient = jax.grad(loss)(predict(w))
    step, state = jax.jit(
        lambda g: tx.update(g, tx.init(w), w, predict=predict, loss=loss)
    )(gradient)
    assert loss(predict(optax.apply_updates(w, step))) < loss(predict(w))
    assert 0 < state.record.scale < 1


def test_a_batch_of_one_and_half_precision_parameters():
    params = {"w": jnp.ones(3, jnp.bfloat16), "b": jnp.zeros((), jnp.float16)}
    x, tx = jnp.array([[1.0, 2.0, 3.0]]), loose(ltd.hessian_free())
    predict = lambda p: x @ p["w"].astype(jnp.float32) + p["b"]
    loss = lambda z: jnp.mean((z - 3) ** 2)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        gradient = jax.grad(lambda p: loss(predict(p)))(params)
        updates, state = tx.update(gradient, state, params, predict=predict, loss=loss)
        assert {k: x.dtype for k, x in updates.items()} == {
            k: x.dtype for k, x in params.items()
        }
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def run(params: Any) -> Any:
        return jax.lax.scan(step, (params, tx.init(params)), None, 4)

    (params, state), _ = run(params)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(state.solution))
    assert loss(predict(params)) < 0.01  # It was 9.
