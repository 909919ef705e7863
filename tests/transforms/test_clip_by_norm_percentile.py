"""The threshold is a norm of the recent ones, chosen by its rank."""

import jax
import numpy as np
import pytest

import optax_ltd as ltd
from tests.transforms.norm_sequences import (
    LENGTH,
    ORDERS,
    counts,
    faulty_norms,
    ordinary_norms,
    run,
)


def _run(norms, percentile=10.0, window_size=100):
    size = {"window_size": window_size}
    return run(ltd.clip_by_norm_percentile, norms, size, percentile=percentile)


def _formula(norms, percentile, window_size):
    seen, clipped = [], []
    for norm in norms:
        if counts(norm):
            seen = [*seen, norm][-window_size:]
            norm = min(norm, np.percentile(seen, percentile, method="lower"))
        clipped.append(norm)
    return clipped, seen


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("percentile", "window_size"),
    [(10.0, 100), (90, 20), (50, 3), (0, 20), (100, 20), (70, 3), (29, 100)],
)
def test_the_formula(percentile, window_size, seed):
    norms = faulty_norms(seed)
    after, states = _run(norms, percentile, window_size)
    clipped, seen = _formula(norms, percentile, window_size)
    np.testing.assert_allclose(after, clipped, rtol=1e-6)
    window = states.norms[-1]
    assert window.shape == (window_size,)
    # Elsewhere the square root of a square may be one unit in the last place off.
    off = 0 if jax.default_backend() == "cpu" else 1
    seen = np.array(seen, np.float32)
    np.testing.assert_array_max_ulp(window[window >= 0], seen, off)


@pytest.mark.parametrize("scale", [ORDERS, 1 / ORDERS])
def test_the_size_of_the_norms_does_not_matter(scale):
    norms = faulty_norms(2)
    scaled, _ = _run(norms * np.float32(scale), 60)
    np.testing.assert_array_equal(scaled, _run(norms, 60)[0] * np.float32(scale))


@pytest.mark.parametrize("percentile", [10, 90, 99])
@pytest.mark.parametrize("place", [0, 1, 30])
def test_one_bad_step_does_not_poison_the_next(percentile, place):
    norms = ordinary_norms(3)
    norms[place] = 1e30
    after, _ = _run(norms, percentile)
    assert after[place] == norms[place] if place == 0 else after[place] < 10
    assert np.delete(after, place).max() <= np.delete(norms, place).max()


def test_it_holds_out_against_bad_steps_of_less_than_their_share():
    norms = ordinary_norms(4)
    norms[10::4] = 1e20
    after, _ = _run(norms, 70)
    assert after[10:].max() < 10
    after, _ = _run(norms, 80)
    assert after[10:].max() > 1e19


def test_zero_gradients_do_not_lower_the_threshold_to_zero():
    norms = np.zeros(LENGTH, np.float32)
    norms[::10] = 2
    after, _ = _run(norms)
    np.testing.assert_array_equal(after, norms)


def test_a_norm_too_small_to_be_stored_passes():
    norms = np.full(LENGTH, 1e-40, np.float32)
    norms[50:] = 1
    after, _ = _run(norms)
    np.testing.assert_array_equal(after, norms)


def test_a_window_follows_the_training():
    norms = np.full(LENGTH, 1.0, np.float32)
    norms[50:] = 100
    after, _ = _run(norms, 10, 20)
    np.testing.assert_allclose(after[50:67], 1, rtol=1e-6)
    np.testing.assert_array_equal(after[70:], norms[70:])
