"""What stands out of the norms and losses of the steps that were accepted."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.transforms.skipped_runs import after_norms, skips


def test_the_zscore_is_that_of_the_accepted_norms():
    rng = np.random.default_rng(0)
    norms = (1 + 0.1 * rng.normal(size=80)).astype(np.float32)
    norms[[20, 30, 50]] = [40, np.nan, 1e30]
    norms[[35, 60]] = [0, np.inf]
    norms[70:73] = [1.5, 1.3, 2.5]
    tx = ltd.skip_steps(optax.sgd(1.0), zscore=3.0, window=10, warmup=5)
    updates, state = after_norms(tx, norms)
    window, skipped = [], []
    for i, norm in enumerate(norms.astype(np.float64)):
        warm = len(window) >= 5
        limit = np.mean(window) + 3 * np.std(window) if warm else np.inf
        if not np.isfinite(norm) or (warm and norm > limit):
            skipped.append(i)
        elif norm > 0:
            window = [*window, norm][-10:]
    assert {20, 30, 50, 60, 72} < {*skipped}
    np.testing.assert_array_equal(np.flatnonzero(updates == 0), sorted([*skipped, 35]))
    np.testing.assert_allclose(state.accepted.values[0], window, rtol=1e-6)
    assert skips(state) == {"nonfinite": 2, "norm_zscore": len(skipped) - 2}


def test_a_loss_of_either_sign_is_judged_like_a_norm():
    losses = np.array([-1, -1.2, -0.8, -1.1, 5, -1, np.nan, -3, -1], np.float32)
    tx = ltd.skip_steps(optax.sgd(1.0), zscore=6.0, window=8, warmup=4)
    updates, state = after_norms(tx, np.ones(9), value=losses)
    np.testing.assert_array_equal(updates, [-1, -1, -1, -1, 0, -1, 0, -1, -1])
    assert skips(state) == {"nonfinite": 1, "loss_zscore": 1}
    accepted = losses[[0, 1, 2, 3, 5, 7, 8]]
    np.testing.assert_array_equal(state.accepted.values[1, -7:], accepted)
    # A large mean takes no digit from a small deviation.
    updates, state = after_norms(tx, np.ones(9), value=1e4 + losses)
    np.testing.assert_array_equal(updates, [-1, -1, -1, -1, 0, -1, 0, -1, -1])


def test_a_step_counts_under_the_first_cause_that_it_has():
    """Norm and loss stand out, and the norm is above its bound in one step of two."""
    tx = ltd.skip_steps(optax.sgd(1.0), zscore=3.0, max_norm=50.0, window=4, warmup=2)
    ones = np.array([1, 1.1, 100, 20, 1], np.float32)
    updates, state = after_norms(tx, ones, value=ones)
    np.testing.assert_array_equal(updates == 0, [False, False, True, True, False])
    assert skips(state) == {"max_norm": 1, "norm_zscore": 1}


def test_equal_losses_may_differ_by_their_rounding():
    losses = jnp.array([0.5] * 6 + [0.5 + 2**-8, 0.75], jnp.bfloat16)
    tx = ltd.skip_steps(optax.sgd(1.0), zscore=6.0, window=6, warmup=6)
    updates, _ = after_norms(tx, np.ones(8), value=losses)
    np.testing.assert_array_equal(updates, [-1] * 7 + [0])


def test_warmup_and_a_level_that_rises_for_good():
    """Nothing is skipped in the warm-up, and everything after the rise."""
    tx = ltd.skip_steps(
        optax.sgd(1.0), zscore=6.0, window=8, warmup=8, max_consecutive=4
    )
    updates, state = after_norms(tx, [1, 50, 1, 1, 1, 1, 1, 1, 1, 1])
    assert not (updates == 0).any()
    updates, state = after_norms(tx, [1.0] * 8 + [3.0] * 3)
    assert (updates[8:] == 0).all()
    ltd.raise_if_diverged(state, jnp.zeros(1))
    _, state = after_norms(tx, [1.0] * 8 + [3.0] * 4)
    message = (
        r"^skip_steps skipped the last 4 steps, and its `max_consecutive` is 4: "
        r"of 12 so far 4 for norm_zscore, the last one at update 11$"
    )
    with pytest.raises(FloatingPointError, match=message):
        ltd.raise_if_diverged(state, jnp.zeros(1))
