"""Structural damping against the dense matrix of a distance of hidden states."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from optax_ltd._second_order.gauss_newton import linearise
from optax_ltd._second_order.parameter_space import ParameterSpace, times
from optax_ltd._second_order.structural_damping import hidden_curvature
from tests.second_order.problems import (
    cross_entropy_distance,
    dense_gauss_newton,
    dense_structural,
    recurrent,
    squared_distance,
)


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("units", "distance", "dense"),
    [
        ("tanh", "squared", squared_distance),
        ("sigmoid", "cross_entropy", cross_entropy_distance),
    ],
)
def test_a_product_with_structural_damping(units: str, distance: Any, dense: Any):
    problem, strength = recurrent("softmax", units), 0.3
    space = ParameterSpace.of(problem.params)
    linear = linearise(problem.predict, problem.loss, space, returns_hidden=True)
    curved = hidden_curvature(linear.hidden, distance)
    damp = lambda tangents: times(jnp.asarray(strength), curved(tangents))
    matrix = dense_gauss_newton(problem) + strength * dense_structural(problem, dense)
    v = np.random.default_rng(1).standard_normal(len(matrix))
    vector = space.vector("vector", ravel_pytree(problem.params)[1](jnp.asarray(v)))
    found = np.concatenate([x.ravel() for x in linear.product(vector, damp)])
    np.testing.assert_allclose(found, matrix @ v, rtol=1e-9)


def test_cross_entropy_of_logistic_units_is_that_of_what_goes_into_them():
    """Jₕᵀ diag(1 / (h (1 - h))) Jₕ = Jₐᵀ diag(h (1 - h)) Jₐ, and 0 if saturated."""
    a = jnp.array([[0.0, 2.0, -30.0, 800.0, -800.0]])
    h, slope = jax.nn.sigmoid(a), jax.nn.sigmoid(a) * jax.nn.sigmoid(-a)
    (back,) = hidden_curvature([h], "cross_entropy")([slope])
    np.testing.assert_allclose(slope * back, slope, rtol=1e-6)


def test_a_scalar_is_no_hidden_state():
    with pytest.raises(ValueError, match="`hidden` must be arrays with the examples"):
        hidden_curvature([jnp.ones(())], "squared")
