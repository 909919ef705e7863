"""The signs of random steps are as those of fair and independent coins."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from optax_ltd._transforms._key import typed_key
from optax_ltd._transforms._random_step import _bits
from tests.transforms.factories import loose

ROWS, COLUMNS, STEPS = 256, 160, 16
KEYS = (0, 1, 2**31)
LIMIT = 5  # standard deviations


@pytest.fixture(scope="module")
def signs() -> np.ndarray:
    """Of two leaves of one shape, [keys, steps, leaves, rows, columns], -1 or 1."""
    tree = [jnp.full((ROWS, COLUMNS), jnp.nan)] * 2

    def run(key: Any) -> Any:
        tx = loose(ltd.nonfinite_random_step(1.0, key=key))

        def body(state: Any, _: None) -> Any:
            updates, state = tx.update(tree, state)
            return state, jnp.sign(jnp.stack(updates))

        return jax.lax.scan(body, tx.init(tree), length=STEPS)[1]

    run = jax.jit(run)
    return np.stack([run(jax.random.key(key)) for key in KEYS])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """In standard deviations of what fair coins would give."""
    return float(abs(np.mean(one * other)) * np.sqrt(one.size))


def test_they_are_balanced_wherever_they_stand(signs):
    assert set(np.unique(signs)) == {-1, 1}
    assert _correlation(signs, np.ones_like(signs)) < LIMIT
    for axis in range(signs.ndim):
        others = tuple(i for i in range(signs.ndim) if i != axis)
        means = signs.mean(others) * np.sqrt(signs.size / signs.shape[axis])
        assert np.abs(means).max() < LIMIT


def test_keys_steps_and_leaves_have_nothing_in_common(signs):
    for axis in range(3):
        for shift in range(1, signs.shape[axis]):
            assert _correlation(signs, np.roll(signs, shift, axis)) < LIMIT


@pytest.mark.parametrize("axis", [3, 4])
def test_neighbours_have_nothing_in_common(signs, axis):
    for lag in (1, 2, 3, 8, 16, 31, 32, 33, 64, 128):
        count = signs.shape[axis] - lag
        early = np.take(signs, range(count), axis)
        late = np.take(signs, range(lag, lag + count), axis)
        assert _correlation(early, late) < LIMIT


def test_no_direction_is_preferred(signs):
    """A matrix of fair coins has its largest singular value near √m + √n."""
    draws = signs[:, :4]
    expected = np.sqrt(ROWS) + np.sqrt(COLUMNS)
    np.testing.assert_allclose(_largest_singular_values(draws), expected, rtol=0.06)
    together = signs.reshape(-1, ROWS * COLUMNS)
    expected = np.sqrt(together.shape[0]) + np.sqrt(together.shape[1])
    np.testing.assert_allclose(_largest_singular_values(together), expected, rtol=0.01)


def _largest_singular_values(matrices: np.ndarray) -> np.ndarray:
    gram = matrices @ np.swapaxes(matrices, -1, -2)
    return np.sqrt(np.linalg.eigvalsh(gram)[..., -1])


def test_keys_a_bit_apart_have_no_words_in_common():
    """Not even at other places, nor with a constant between them."""

    def words(first: int, second: int) -> np.ndarray:
        key = typed_key(jnp.array([first, second], jnp.uint32))
        return np.asarray(_bits(key, (64, 64)))

    one = words(7, 11)
    for other in (words(7, 10), words(7 + 2**20, 11)):
        assert np.intersect1d(one, other).size < 3
        assert np.unique(one - other).size > 4000
