"""The threshold is a z-score, from statistics that no single step can move far."""

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
    usual,
)

INF = float("inf")


def _run(norms, threshold=2.5, decay=0.97, max_norm=INF, warmup_steps=10):
    return run(
        ltd.clip_by_norm_zscore,
        norms,
        {"warmup_steps": warmup_steps},
        threshold=threshold,
        decay=decay,
        max_norm=max_norm,
    )


def _formula(norms, threshold, decay, max_norm, warmup_steps):
    """Norms that come out, means and deviations, as the docstring defines them."""
    first, mean, deviation, rows = [], 0.0, 0.0, []
    for norm in norms.astype(np.float64):
        warm, limit = len(first) == warmup_steps, max_norm
        spread = deviation + 1e-6 * mean
        if counts(norm) and warm:
            zscore = (norm - mean) / spread
            if zscore > threshold:
                limit = min(mean + threshold * deviation / (zscore / threshold), limit)
            entry = min(norm, mean + max(threshold, 2.5) * spread)
            mean = decay * mean + (1 - decay) * entry
            square = decay * deviation**2 + (1 - decay) * (entry - mean) ** 2
            deviation = square**0.5
        elif counts(norm):
            first.append(norm)
            if len(first) == warmup_steps:
                mean, deviation = usual(first).mean(), usual(first).std()
        rows.append((min(norm, limit) if norm < INF else norm, mean, deviation))
    return np.array(rows).T


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("threshold", "decay", "max_norm", "warmup_steps"),
    [(2.5, 0.97, INF, 10), (1, 0.9, 2, 10), (4, 0, INF, 4), (2.5, 1, INF, 10)],
)
def test_the_formula(threshold, decay, max_norm, warmup_steps, seed):
    norms = faulty_norms(seed)
    arguments = threshold, decay, max_norm, warmup_steps
    after, states = _run(norms, *arguments)
    clipped, means, deviations = _formula(norms, *arguments)
    np.testing.assert_allclose(after, clipped, rtol=1e-4)
    np.testing.assert_allclose(states.mean, means, rtol=1e-5)
    np.testing.assert_allclose(states.deviation, deviations, rtol=1e-4, atol=1e-6)
    assert states.record.clipped_count[-1] == np.sum(clipped < norms)


def test_a_norm_above_the_mean_is_clipped_in_proportion_to_its_score():
    norms = np.tile(np.array([1, 3], np.float32), LENGTH // 2)
    norms[4] = 12  # mean 2 and deviation 1, so that its score is 10
    after, _ = _run(norms, warmup_steps=4)
    np.testing.assert_allclose(after[4], 2 + 2.5 / (10 / 2.5), rtol=1e-5)


@pytest.mark.parametrize("scale", [ORDERS, 1 / ORDERS])
def test_the_size_of_the_norms_does_not_matter(scale):
    norms = faulty_norms(2)
    after, states = _run(norms)
    scaled, scaled_states = _run(norms * np.float32(scale))
    scale = np.float32(scale)
    np.testing.assert_allclose(scaled, after * scale, rtol=1e-5)
    np.testing.assert_allclose(scaled_states.mean, states.mean * scale, rtol=1e-5)
    deviations = states.deviation * scale
    np.testing.assert_allclose(scaled_states.deviation, deviations, rtol=1e-5)


def test_float64():
    norms = faulty_norms(2).astype(np.float64)
    with jax.enable_x64(True):
        after, states = _run(norms * 1e200)
    assert states.deviation.dtype == states.first_norms.dtype == np.float64
    rows = _formula(norms, 2.5, 0.97, INF, 10)
    seen = after, states.mean, states.deviation
    np.testing.assert_allclose(np.array(seen) / 1e200, rows, rtol=1e-11)


def test_the_warm_up_bounds_the_norm_and_nothing_else():
    norms = ordinary_norms(3)
    norms[:14] = [100, np.nan, 0, 1, 30, INF, 1e-4, 0, 1, 1, 2, 1, 4, 9]
    after, states = _run(norms, threshold=0, max_norm=50)
    np.testing.assert_array_equal(after[:14], [50, *norms[1:14]])
    assert after[14:].max() < 5
    assert states.record.clipped_count[13] == 1
    assert not states.mean[:13].any()
    assert states.mean[13] > 0


@pytest.mark.parametrize("size", [1e3, 1e30, INF])
def test_one_bad_step_does_not_poison_the_next(size):
    norms = ordinary_norms(4)
    _, clean = _run(norms)
    norms[40] = size
    after, states = _run(norms)
    assert after[40] == INF if size == INF else after[40] < 10
    assert (states.mean[40:] / clean.mean[40:]).min() > 0.9
    assert (states.mean[40:] / clean.mean[40:]).max() < 1.1
    assert (states.deviation[40:] / clean.deviation[40:]).max() < 1.3


def test_a_bad_step_in_the_warm_up_leaves_no_trace():
    for place in (0, 9):
        norms = ordinary_norms(5)
        norms[place] = 1e30
        _, states = _run(norms)
        others = np.delete(norms[:10], place)
        np.testing.assert_allclose(states.mean[9], others.mean(), rtol=1e-5)
        np.testing.assert_allclose(states.deviation[9], others.std(), rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.5, 2.5])
def test_a_lasting_rise_is_learnt(threshold):
    norms = ordinary_norms(6)
    norms[20:] *= 30
    after, _ = _run(norms, threshold)
    assert (after[20:25] < norms[20:25]).all()
    assert after[-20:].mean() > 0.6 * norms[-20:].mean()


def test_norms_that_are_all_alike_pass_and_a_rise_from_them_is_learnt():
    norms = np.full(LENGTH, 0.3, np.float32)
    after, states = _run(norms)
    np.testing.assert_array_equal(after, norms)
    np.testing.assert_allclose(states.deviation, 0, atol=1e-6)
    norms[10:] = 0.3001
    after, _ = _run(norms)
    np.testing.assert_allclose(after[10], 0.3, rtol=1e-6)
    assert after[-1] == norms[-1]


def test_a_rise_from_the_smallest_norms_is_learnt():
    # A millionth of these is rounded to 0, which would bind the statistics for ever.
    norms = np.full(LENGTH, 2e-38, np.float32)
    norms[10:] = 5e-38
    after, _ = _run(norms)
    np.testing.assert_allclose(after[10], 2e-38, rtol=1e-5)
    assert after[-1] == norms[-1]


def test_a_score_below_zero_is_read_as_zero():
    norms = faulty_norms(8)
    below, zero = (_run(norms, score) for score in (-1, 0))
    np.testing.assert_array_equal(below[0], zero[0])
    np.testing.assert_array_equal(below[1].deviation, zero[1].deviation)
