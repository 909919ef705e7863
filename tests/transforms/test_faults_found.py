"""Faults that the drawn gradients have found, each pinned down as an example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.transforms.factories import loose, same


def test_a_subnormal_entry_keeps_its_sign_below_a_small_bound():
    gradient = np.array([1e-45, -1e-45, 1.0, -0.0], np.float32)

    @jax.jit
    def update(bound):
        tx = loose(ltd.clip_by_value(bound))
        return tx.update(gradient, tx.init(gradient))[0]

    expected = np.array([1e-45, -1e-45, 1e-20, -0.0], np.float32)
    assert same(update(np.float32(1e-20)), expected)


def test_a_finite_entry_whose_modulus_is_not_is_clipped():
    gradient = np.array([3e38 + 3e38j, 0, 0.5j], np.complex64)
    tx = loose(ltd.clip_by_value(1.0))
    update, state = jax.jit(tx.update)(gradient, tx.init(gradient))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(update, [half + half * 1j, 0, 0.5j], rtol=1e-6)
    assert state.record.clipped_count == 1
    assert state.record.nonfinite_count == 0
    assert state.record.norm == jnp.inf


@pytest.mark.parametrize("size", [1e-5, 1e9, 1e18, 1e38])
@pytest.mark.parametrize("threshold", [1e-30, 1e-35])
def test_a_factor_too_small_for_its_dtype_keeps_the_direction(size, threshold):
    direction = np.array([0.6, -0.8], np.float32)
    clipped = _clipped(direction * np.float32(size), np.float32(threshold))
    np.testing.assert_allclose(clipped, direction * threshold, rtol=1e-6)


def test_a_factor_too_small_for_float64():
    direction = np.array([0.6, -0.8])
    with jax.enable_x64(True):
        for size in (1e-100, 1e100, 1e308):
            clipped = _clipped(direction * size, np.float64(1e-300))
            np.testing.assert_allclose(clipped, direction * 1e-300, rtol=1e-14)


@jax.jit
def _clipped(gradient, max_norm):
    tx = loose(ltd.clip_by_global_norm(max_norm))
    return tx.update(gradient, tx.init(gradient))[0]


def test_a_norm_beyond_float32_is_not_kept_as_the_largest_float64():
    gradient = np.array([3e38, 3e38], np.float32)
    end = float(jnp.finfo(jnp.float32).max)
    tx = loose(ltd.clip_by_average_norm(1.0, warmup_steps=1))
    with jax.enable_x64(True):
        _, state = jax.jit(tx.update)(gradient, tx.init(gradient))
        assert state.mean.dtype == jnp.float64
        assert state.mean == end
        assert state.record.recent_norms[-1] == end


@pytest.mark.parametrize("percentile", [10.0, 100.0])
def test_a_first_norm_beyond_its_dtype_has_only_itself_to_be_compared_with(percentile):
    gradient = np.array([3e38, -3e38, 1.0], np.float32)
    tx = loose(ltd.clip_by_norm_percentile(percentile))
    state, clip = tx.init(gradient), jax.jit(tx.update)
    update, state = clip(gradient, state)
    assert same(update, gradient)
    assert state.record.clipped_count == 0
    _, state = clip(np.array([3, 0, -4], np.float32), state)
    assert state.record.clipped_count == 0
    after, state = clip(gradient, state)
    assert state.record.clipped_count == (percentile < 100)
    assert same(after, gradient) == (percentile == 100)
