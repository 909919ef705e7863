"""Conjugate gradients: the solution, where they stop, and what they keep."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd._second_order.conjugate_gradients import (
    conjugate_gradients,
    kept_iterations,
    little_progress,
)

FALSE = jnp.zeros((), bool)


@jax.jit
def _solve(matrix: jax.Array, b: Any, start: Any, scales: Any) -> Any:
    return conjugate_gradients(
        lambda v: [matrix @ v[0]], [b], [start], [scales], 40, idle=FALSE
    )


def _system(
    seed: int, condition: float = 100.0, size: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    matrix = basis @ np.diag(np.geomspace(1, condition, size)) @ basis.T
    return matrix.astype(np.float32), rng.standard_normal(size).astype(np.float32)


def _plain(matrix: Any, b: Any, x: Any, scales: Any, number: int) -> list[np.ndarray]:
    """The iterates x_0, x_1, … in float64, as textbooks have them."""
    r = b - matrix @ x
    p, found = r / scales, [x]
    for _ in range(number):
        length = (r @ (r / scales)) / (p @ matrix @ p)
        x, new = x + length * p, r - length * matrix @ p
        p = new / scales + (new @ (new / scales)) / (r @ (r / scales)) * p
        r = new
        found.append(x)
    return found


def _progress_stops(matrix: Any, b: Any, iterates: list[np.ndarray]) -> int:
    """The iteration after which the rule of section 4.4 ends."""
    phi = [x @ matrix @ x / 2 - b @ x for x in iterates]
    for i in range(1, len(phi)):
        k = max(10, i // 10)
        if i > k and phi[i] < 0 and (phi[i] - phi[i - k]) / phi[i] < k * 5e-4:
            return i
    raise AssertionError


def test_they_solve_the_system():
    matrix, b = _system(0)
    found = _solve(matrix, b, np.zeros_like(b), np.ones_like(b))
    np.testing.assert_allclose(matrix @ found.x[0], b, atol=1e-3)
    assert found.finite & ~found.negative_curvature


@pytest.mark.parametrize("gap", [1e-9, 0.3])
def test_they_stop_where_the_residual_is_lost_in_rounding(gap: float):
    """Not where a billionth is left, and without the last rounding being nothing."""
    matrix, b = np.diag([1.0, 1 + gap]), np.array([1.0, 0.7])
    with jax.enable_x64(True):
        found = _solve(matrix, b, 0 * b, np.ones(2))
    assert found.iterations == 2
    np.testing.assert_allclose(found.x[0], b / np.diag(matrix), rtol=1e-15)


@pytest.mark.parametrize("warm", [False, True])
def test_iterates_kept_and_the_end(warm: bool):
    """With a preconditioner, from zero and from elsewhere."""
    matrix, b = map(np.float64, _system(1))
    start = warm * 0.1 * np.random.default_rng(2).standard_normal(12)
    scales = np.diag(matrix) ** 0.75
    iterates = _plain(matrix, b, start, scales, number=11)
    with jax.enable_x64(True):
        found = _solve(matrix, b, start, scales)
    points = kept_iterations(40)
    assert found.iterations >= 11
    for slot, point in enumerate(points):
        if point <= 11:
            np.testing.assert_allclose(found.kept[0][slot], iterates[point], rtol=1e-6)
    np.testing.assert_array_equal(found.kept[0][found.last], found.x[0])
    assert points[found.last] >= found.iterations > points[found.last - 1]


@pytest.mark.parametrize("warm", [False, True])
def test_they_stop_where_there_is_little_progress(warm: bool):
    """From zero, where no iterate has a product with its residual, and elsewhere."""
    matrix, b = map(np.float64, _system(3, size=100))
    start = warm * np.random.default_rng(4).standard_normal(100)
    ones = np.ones_like(b)
    iterates = _plain(matrix, b, start, ones, number=40)
    with jax.enable_x64(True):
        found = _solve(matrix, b, start, ones)
    assert found.iterations == _progress_stops(matrix, b, iterates)
    assert 11 < found.iterations < 40


@pytest.mark.parametrize(
    ("i", "now", "before", "stops"),
    [
        (11, -1.0, -0.996, True),  # A gain of .004, less than 10 · 5e-4.
        (11, -1.0, -0.994, False),
        (10, -1.0, -0.996, False),  # i > k
        (11, 1.0, 0.994, False),  # φ < 0
        (200, -1.0, -0.991, True),  # k = 20
        (200, -1.0, -0.989, False),
    ],
)
def test_the_rule_of_progress(i: int, now: float, before: float, stops: bool):
    models = jnp.zeros(201).at[i - max(10, i // 10)].set(before).at[i].set(now)
    assert little_progress(models, jnp.asarray(i)) == stops


@pytest.mark.parametrize("curvature", [-1.0, 0.0])
def test_a_direction_without_positive_curvature_ends_them_where_they_are(
    curvature: float,
):
    matrix = np.diag(np.array([2.0, 1.0, curvature] + [1.0] * 9, np.float32))
    b = np.eye(12, dtype=np.float32)[0]
    found = _solve(matrix, b, np.zeros_like(b), np.ones_like(b))
    assert not found.negative_curvature  # It is never met.
    np.testing.assert_allclose(found.x[0], b / 2)
    found = _solve(
        matrix, b[[2, 1, 0, *range(3, 12)]], np.zeros_like(b), np.ones_like(b)
    )
    assert found.negative_curvature & found.finite
    assert found.iterations == 0
    np.testing.assert_array_equal(found.x[0], 0)


def test_a_product_that_is_not_finite():
    matrix, b = _system(4)
    found = _solve(matrix * np.nan, b, np.zeros_like(b), np.ones_like(b))
    assert not found.finite


def test_the_iterations_that_are_kept():
    assert list(kept_iterations(1)) == [1]
    assert list(kept_iterations(20)) == [1, 2, 3, 4, 5, 7, 9, 11, 14, 18, 20]
