"""The threshold follows a running average that no single step can move far."""

import functools

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
    usual,
)


def _run(norms, multiple, decay=0.99, warmup_steps=10):
    return run(
        ltd.clip_by_average_norm,
        norms,
        {"warmup_steps": warmup_steps},
        multiple=multiple,
        decay=decay,
    )


def _constant(norms, decay):
    """With a decay that the compiler knows, so that it may factor by it."""
    factory = functools.partial(ltd.clip_by_average_norm, 1.0, decay=decay)
    return run(factory, norms, {"warmup_steps": 10})


def _formula(norms, multiple, decay, warmup_steps):
    """Norms that come out and averages, as the docstring defines them."""
    first, mean, clipped, means = [], 0.0, [], []
    for norm in norms.astype(np.float64):
        warm = len(first) == warmup_steps
        clipped.append(min(norm, multiple * mean) if warm and norm < np.inf else norm)
        if counts(norm) and warm:
            mean = decay * mean + (1 - decay) * min(norm, 10 * mean)
        elif counts(norm):
            first.append(norm)
            mean = usual(first).mean() if len(first) == warmup_steps else 0
        means.append(mean)
    return clipped, means


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("multiple", "decay", "warmup_steps"),
    [(1.5, 0.9, 10), (0.5, 0.99, 1), (20, 0, 10), (2, 1, 10)],
)
def test_the_formula(multiple, decay, warmup_steps, seed):
    norms = faulty_norms(seed)
    after, states = _run(norms, multiple, decay, warmup_steps)
    clipped, means = _formula(norms, multiple, decay, warmup_steps)
    np.testing.assert_allclose(after, clipped, rtol=1e-5)
    np.testing.assert_allclose(states.mean, means, rtol=1e-5)


@pytest.mark.parametrize("scale", [ORDERS, 1 / ORDERS])
def test_the_size_of_the_norms_does_not_matter(scale):
    norms = faulty_norms(2)
    after, states = _run(norms, 1.5, 0.9)
    scaled, scaled_states = _run(norms * np.float32(scale), 1.5, 0.9)
    np.testing.assert_array_equal(scaled, after * np.float32(scale))
    np.testing.assert_array_equal(scaled_states.mean, states.mean * np.float32(scale))


def test_the_warm_up_clips_nothing_and_counts_only_norms():
    norms = ordinary_norms(3)
    norms[:14] = [1e6, np.nan, 0, 1, 3, np.inf, 1e-4, 0, 500, 2, 1, 1, 4, 9]
    after, states = _run(norms, 0.001)
    np.testing.assert_array_equal(after[:14], norms[:14])  # ten of them are counted
    assert (after[14:] < 0.01).all()
    assert not states.mean[:13].any()
    np.testing.assert_array_equal(states.record.clipped_count[12:15], [0, 0, 1])


@pytest.mark.parametrize("size", [1e3, 1e30, np.inf])
def test_one_bad_step_does_not_poison_the_next(size):
    norms = ordinary_norms(4)
    _, clean = _run(norms, 3)
    norms[40] = size
    after, states = _run(norms, 3)
    if size < np.inf:
        np.testing.assert_allclose(after[40], 3 * clean.mean[39], rtol=1e-5)
    ratio = states.mean[40:] / clean.mean[40:]
    assert ratio.max() < 1.0901
    assert ratio.min() > 0.95


def test_a_bad_step_in_the_warm_up_leaves_no_trace():
    for place in (0, 5, 9):
        norms = ordinary_norms(5)
        norms[place] = 1e30
        _, states = _run(norms, 3)
        others = np.delete(norms[:10], place)
        np.testing.assert_allclose(states.mean[9], others.mean(), rtol=1e-5)


def test_a_lasting_rise_is_learnt_and_half_the_average_does_not_collapse():
    norms = ordinary_norms(6)
    norms[20:] *= 100
    after, _ = _run(norms, 3)
    assert (after[20:25] < norms[20:25]).all()
    assert (after[-10:] == norms[-10:]).mean() > 0.5
    norms = ordinary_norms(7)
    _, states = _run(norms, 0.5, 0.9)
    assert states.mean[-1] > 0.5 * norms.mean()


def test_norms_at_the_ends_of_the_range():
    for decay in (0.99, 0.5):
        norms = np.full(LENGTH, np.finfo(np.float32).max)
        after, states = _constant(norms, decay)
        assert np.isfinite(states.mean).all()
        np.testing.assert_allclose(after, norms, rtol=1e-5)
    after, states = _run(np.full(LENGTH, 1e-35, np.float32), 1)
    np.testing.assert_allclose(states.mean[-1], 1e-35, rtol=1e-5)
    np.testing.assert_allclose(after, 1e-35, rtol=1e-5)
    # Here (1 - decay) * norm is 0, of which no average may consist.
    after, states = _run(np.full(LENGTH, 2e-38, np.float32), 1, 0.5)
    np.testing.assert_allclose(states.mean[-1], 2e-38, rtol=1e-5)
    np.testing.assert_allclose(after, 2e-38, rtol=1e-5)
