"""The penalty on Lyapunov exponents and its gradient."""

from typing import Any

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.recurrent.cells import F, H, case
from tests.slow import slow_but

Q = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
START, INPUTS = np.zeros((1, 4)), np.zeros((6, 1))


def linear(W: Any, h: Any, x: Any) -> Any:
    return h @ W, None


def diagonal(rates: Any, h: Any, x: Any) -> Any:
    return h * rates, None


_penalty = jax.jit(
    ltd.flossing_penalty,
    static_argnums=(0, 4),
    static_argnames=("length", "warmup", "qr_every"),
)
_with_gradient = jax.jit(
    jax.value_and_grad(ltd.flossing_penalty, (1, 2, 3)),
    static_argnums=(0, 4),
    static_argnames=("warmup", "qr_every"),
)


def gradient(*args: Any, **options: Any) -> Any:
    """In NumPy, for it may leave the scope of float64."""
    return jax.tree.map(np.asarray, _with_gradient(*args, **options))


def differences(cell: Any, trees: Any, *rest: Any, **options: Any) -> list[np.ndarray]:
    """The gradient by central differences in float64, leaf by leaf."""
    leaves, tree = jax.tree.flatten(trees)
    found = []
    for i, leaf in enumerate(leaves):
        slopes = np.zeros(leaf.shape)
        for at in np.ndindex(leaf.shape):
            ends = []
            for sign in (1, -1):
                moved = np.array(leaf)
                moved[at] += sign * 1e-6
                moved = jax.tree.unflatten(tree, [*leaves[:i], moved, *leaves[i + 1 :]])
                ends.append(float(_penalty(cell, *moved, *rest, **options)))
            slopes[at] = (ends[0] - ends[1]) / 2e-6
        found.append(slopes)
    return found


def in_float64(trees: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), trees)


def assert_is_derivative(cell: Any, *trees: Any, count: int, **options: Any) -> Any:
    trees = in_float64(trees)
    with jax.enable_x64(True):
        value, grads = gradient(cell, *trees, count, **options)
        expected = differences(cell, trees, count, **options)
        chex.assert_type(value, np.float64)
        for got, want in zip(jax.tree.leaves(grads), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    return value, grads


@pytest.mark.parametrize(
    ("name", "count", "options"),
    [
        ("simple", H, {}),
        pytest.param("gru", 2, {"warmup": 2}, marks=pytest.mark.slow),
        ("lstm", 3, {"qr_every": 2}),  # a carry that is a tree
    ],
)
def test_gradient_is_that_of_finite_differences(name: str, count: int, options: Any):
    cell, _, *trees = case(name)
    value, grads = assert_is_derivative(cell, *trees, count=count, **options)
    trees = in_float64(trees)
    with jax.enable_x64(True):
        exponents = ltd.lyapunov_exponents(cell, *trees, num_exponents=count, **options)
        # Squared example by example, which these tell apart from squared means.
        np.testing.assert_allclose(value, np.mean(np.square(exponents)), rtol=1e-12)
        assert np.ptp(exponents, axis=0).min() > 1e-2
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_a_scaled_rotation_in_closed_form():
    scaled = lambda scale, h, x: (scale * h @ Q, None)
    for scale in (0.5, 1.0, 2.0):
        value, (slope, *_) = gradient(scaled, scale, START, INPUTS, 3)
        np.testing.assert_allclose(value, np.log(scale) ** 2, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(
            slope, 2 * np.log(scale) / scale, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("rate", slow_but([0.9], [0.8, 0.9, 1.0]))
def test_exponents_that_cross(rate: float):
    """The first rate passes the second, of .9."""
    rates = np.asarray([rate, 0.9, 0.5, 0.9])
    assert_is_derivative(diagonal, rates, START, INPUTS[:, :1], count=3)


def test_exponents_of_a_complex_pair_and_of_an_orthogonal_map():
    turn = np.eye(4)
    turn[:2, :2] = 0.9 * np.asarray([[0.6, -0.8], [0.8, 0.6]])
    assert_is_derivative(linear, turn, START, INPUTS, count=4)
    value, grads = assert_is_derivative(linear, Q, START, INPUTS, count=4)
    np.testing.assert_allclose(value, 0, atol=1e-20)
    np.testing.assert_allclose(grads[0], 0, atol=1e-12)


def relu(p: Any, h: Any, x: Any) -> Any:
    return jax.nn.relu(h @ p["W"] + p["b"]), None


def saturated(p: Any, h: Any, x: Any) -> Any:
    return jnp.tanh(h @ p["W"] + p["b"]), None


@pytest.mark.parametrize("cell", slow_but([relu], [relu, saturated]))
def test_directions_that_are_lost_leave_the_rest_their_gradient(cell: Any):
    """One unit is dead in the first cell, its derivative 0 in the second."""
    bias = np.asarray([0.2, 0.1, 0.3, -50.0])
    params = {"W": np.asarray(0.3 * Q + 0.5 * np.eye(4)), "b": bias}
    start, inputs = np.full((1, 4), 0.1), np.zeros((8, 1))
    value, grads = assert_is_derivative(cell, params, start, inputs, count=4)
    assert np.any(grads[0]["W"])
    with jax.enable_x64(True):
        rest = ltd.lyapunov_exponents(cell, params, start, inputs)[0, :3]
        floor = np.log(4 * np.finfo(np.float64).eps)
        expected = (np.sum(rest**2) + floor**2) / 4
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_more_exponents_than_rank():
    W = np.asarray(Q[:, :2] @ Q[:2], np.float32)
    value, grads = gradient(linear, W, START, INPUTS, 4)
    assert value > np.log(1e-6) ** 2 / 4
    assert all(np.isfinite(leaf).all() for leaf in grads)
    assert np.any(grads[0])
    value, grads = gradient(linear, 0 * W, START, INPUTS, 4)
    floor = np.log(4 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(value, floor**2, rtol=1e-6)
    assert not np.any(grads[0])


def test_a_trajectory_that_is_not_finite_says_so():
    W = np.full((4, 4), np.inf, np.float32)
    assert np.isnan(_penalty(linear, W, START, INPUTS, 2))


def test_no_examples_at_all():
    assert _penalty(linear, Q, np.zeros((0, 4)), np.zeros((5, 0)), 2) == 0


@pytest.mark.parametrize("gain", slow_but([1.0], [0.5, 1.0]))
def test_over_many_steps_float32_has_the_gradient_of_float64(gain: float):
    size, rng = 12, np.random.default_rng(3)

    def cell(p: Any, h: Any, x: Any) -> Any:
        return jnp.tanh(h @ p["W"] + x @ p["U"]), None

    params = {"W": gain * rng.normal(size=(size, size)) / np.sqrt(size)}
    params["U"] = rng.normal(size=(1, size))
    trees = params, np.zeros((1, size)), rng.normal(size=(300, 1, 1))
    _, single = gradient(cell, *trees, size - 1)
    with jax.enable_x64(True):
        _, double = gradient(cell, *trees, size - 1)
    for got, want in zip(*map(jax.tree.leaves, (single, double)), strict=True):
        chex.assert_type(got, np.float32)
        np.testing.assert_allclose(got, want, atol=1e-2 * np.abs(want).max())


def test_seeds_under_vmap_are_each_alone():
    cell, _, params, carry, inputs = case("simple")
    W = jnp.stack([params["W"], 0.5 * params["W"]])

    @jax.jit
    def of(W: jax.Array) -> Any:
        def penalty(W: jax.Array) -> jax.Array:
            return ltd.flossing_penalty(cell, {**params, "W": W}, carry, inputs, 3)

        return jax.vmap(jax.value_and_grad(penalty))(W)

    values, slopes = of(W)
    for i in range(2):
        value, grads = gradient(cell, {**params, "W": W[i]}, carry, inputs, 3)
        np.testing.assert_allclose(values[i], value, rtol=1e-5)
        np.testing.assert_allclose(slopes[i], grads[0]["W"], rtol=1e-4, atol=1e-6)


def test_a_flax_cell_is_flossed():
    """Its exponents come nearer to 0."""
    graphdef, params = nnx.split(nnx.GRUCell(F, H, rngs=nnx.Rngs(0)))
    carry, inputs = case("gru")[3:]

    def cell_fn(params: Any, carry: Any, x: Any) -> Any:
        return nnx.merge(graphdef, params)(carry, x)

    @jax.jit
    def floss(params: Any) -> Any:
        penalty = jax.value_and_grad(ltd.flossing_penalty, 1)
        value, grads = penalty(cell_fn, params, carry, inputs, 2)
        return value, jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)

    values = []
    for _ in range(5):
        value, params = floss(params)
        values.append(value)
    assert np.all(np.diff(values) < 0)


def test_it_lowers_for_every_platform():
    cell, _, *trees = case("gru")
    leaves, tree = jax.tree.flatten(trees)

    @jax.jit
    def flat(*leaves: Any) -> Any:
        penalty = lambda leaves: ltd.flossing_penalty(
            cell, *jax.tree.unflatten(tree, leaves), num_exponents=2
        )
        return jax.value_and_grad(penalty)(leaves)

    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(flat, platforms=platforms)(*leaves)
    assert exported.platforms == platforms
    value, _ = exported.call(*leaves)
    np.testing.assert_allclose(value, _penalty(cell, *trees, 2), rtol=1e-5)


def test_options_out_of_range():
    for count in (0, 5, 2.0):
        message = f"`num_exponents` must be an int from 1 to 4; got {count}"
        with pytest.raises(ValueError, match=message):
            ltd.flossing_penalty(linear, Q, START, INPUTS, count)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`warmup` must be an int from 0 to 5; got 6"):
        ltd.flossing_penalty(linear, Q, START, INPUTS, 2, warmup=6)
    with pytest.raises(ValueError, match="`length` must be an int >= 0 where"):
        ltd.flossing_penalty(linear, Q, START, None, 2)
