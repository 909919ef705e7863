"""Orthonormal columns and their derivative, with and without a lost one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd._recurrent.flow.orthonormal import orthonormalised

V = np.random.default_rng(0).normal(size=(2, 5, 3))
WEIGHTS = np.random.default_rng(1).normal(size=(2, 6, 3))


def read(q: jax.Array, growth: jax.Array) -> jax.Array:
    """A number that depends on every entry."""
    return jnp.sum(WEIGHTS[:, :5] * q) + jnp.sum(WEIGHTS[:, 5] * growth)


def ours(vectors: Any) -> jax.Array:
    return read(*orthonormalised(vectors)[:2])


def by_jax(vectors: Any, signs: Any = 1) -> jax.Array:
    q, r = jnp.linalg.qr(vectors)
    return read(q * signs, jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))))


def test_value_and_derivative_are_those_of_the_decomposition():
    with jax.enable_x64(True):
        assert not np.any(orthonormalised(V)[2])
        assert ours(V) == by_jax(V)
        found, expected = (jax.jit(jax.grad(f))(V) for f in (ours, by_jax))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        # Both directions of automatic differentiation.
        _, tangent = jax.jvp(ours, (V,), (V[::-1],))
        np.testing.assert_allclose(tangent, np.sum(found * V[::-1]), rtol=1e-12)


@pytest.mark.parametrize("factor", [0.0, 1e-300, 2.0])
def test_a_lost_column_is_as_an_arbitrary_one_at_rest(factor: float):
    vectors = V.copy()
    vectors[..., 1] = factor * vectors[..., 0]
    with jax.enable_x64(True):
        q, growth, lost = orthonormalised(vectors)
        np.testing.assert_array_equal(lost, [[False, True, False]] * 2)
        assert np.all(growth[..., 1] < -30)
        np.testing.assert_allclose(q.mT @ q, [np.eye(3)] * 2, atol=1e-14)
        found = jax.grad(ours)(vectors)
        vectors[..., 1] = q[..., 1]
        # The sign of a column is arbitrary.
        signs = jnp.sum(q * jnp.linalg.qr(vectors)[0], axis=-2, keepdims=True).round()
        expected = np.array(jax.grad(by_jax)(vectors, signs))
    expected[..., 1] = 0
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_small_columns_and_those_of_no_number_are_not_lost():
    *_, lost = orthonormalised(1e-30 * np.eye(3, dtype=np.float32))
    assert not lost.any()
    q, growth, lost = orthonormalised(np.full((3, 3), np.nan, np.float32))
    assert not lost.any()
    assert np.isnan(q).all()
    assert np.isnan(growth).all()
