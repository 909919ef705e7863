"""Episodes that end inside a sequence: the carry begins anew, and no signal crosses."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd

T, B, H = 12, 3, 4
_rng = np.random.default_rng(0)
W: Any = np.float32(0.6 * _rng.standard_normal((H, H)))
X: Any = np.float32(_rng.standard_normal((T, B, H)))
START: Any = np.float32(_rng.standard_normal((B, H)))
FRESH: Any = np.array([0.1, -0.2, 0.3, 0.0], np.float32)
RESETS: Any = _rng.random((T, B)) < 0.25
RESETS[0, 1] = True
EPISODE: Any = np.zeros((T, 1), bool)
EPISODE[5] = True


def cell(w, h, x):
    h = jnp.tanh(h @ w + x)
    return h, h


def by_hand(w, h, at):
    """The cell that users write today, who hand the resets over as a feature."""
    x, fresh, reset = at
    return cell(w, jnp.where(reset[:, None], fresh, h), x)


def ours(w, start, x, fresh, **options) -> Any:
    return ltd.unroll(cell, w, start, x, resets=RESETS, reset_carry=fresh, **options)


def theirs(w, start, x, fresh) -> Any:
    everywhere = jnp.broadcast_to(fresh, (T, H))
    return jax.lax.scan(partial(by_hand, w), start, (x, everywhere, RESETS))


def value_and_grad(run) -> Any:
    """Of a loss that reads every step and the last carry, by all four arguments."""

    def loss(*args):
        carry, outputs = run(*args)
        by_step = jnp.sum(jnp.sin(outputs), axis=(1, 2))
        return jnp.sum(jnp.cos(np.arange(T)) * by_step) + jnp.sum(carry**2)

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(W, START, X, FRESH)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"remat": True},
        {"flow_weight": 1e-30},
        {"flow_weight": 1e-30, "remat": True, "flow_reduction": "mean"},
        {"carry_clip": ltd.clip_carry_gradient(1e6), "unroll": 5},
    ],
)
def test_is_the_resetting_cell_under_scan(options):
    chex.assert_trees_all_close(
        value_and_grad(partial(ours, **options)), value_and_grad(theirs), rtol=2e-5
    )


@pytest.mark.parametrize("options", [{}, {"flow_weight": 1e-30}])
def test_windows_and_resets_stop_the_signal_both(options):
    def windows(w, start, x, fresh):
        outputs = []
        for first in range(0, T, 4):
            part = slice(first, first + 4)
            start, y = ltd.unroll(
                cell, w, start, x[part], resets=RESETS[part], reset_carry=fresh
            )
            start = start if first == 8 else jax.lax.stop_gradient(start)
            outputs.append(y)
        return start, jnp.concatenate(outputs)

    chex.assert_trees_all_close(
        value_and_grad(partial(ours, truncate=4, **options)),
        value_and_grad(windows),
        rtol=2e-5,
    )


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_omega_is_that_of_the_episodes_one_by_one(reduction):
    """The first step of the second episode has nothing before it and is left out."""
    options: Any = {"flow_weight": 2.0, "flow_reduction": reduction}
    start, x = START[:1], X[:, :1]

    def whole(w):
        _, y = ltd.unroll(
            cell, w, start, x, resets=EPISODE, reset_carry=FRESH, **options
        )
        return jnp.sum(jnp.sin(y))

    def one_by_one(w):
        # A mean over 11 steps is the sum of means over 5 and over 6, weighted so.
        shares = (5 / 11, 6 / 11) if reduction == "mean" else (1, 1)
        first = options | {"flow_weight": 2.0 * shares[0]}
        second = options | {"flow_weight": 2.0 * shares[1]}
        _, y1 = ltd.unroll(cell, w, start, x[:5], **first)
        fresh = jnp.broadcast_to(FRESH, (1, H))
        mask = jnp.arange(7)[:, None] > 0
        _, y2 = ltd.unroll(cell, w, fresh, x[5:], mask=mask, **second)
        return jnp.sum(jnp.sin(y1)) + jnp.sum(jnp.sin(y2))

    chex.assert_trees_all_close(
        jax.jit(jax.grad(whole))(W),
        jax.jit(jax.grad(one_by_one))(W),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_record_leaves_the_step_out_and_tells_where_it_is():
    def loss(w, record):
        return jnp.sum(ours(w, START, X, FRESH, flow_record=record)[1])

    seen = jax.jit(jax.grad(loss, 1))(W, ltd.FlowRecord.zeros((T, B)))
    np.testing.assert_array_equal(seen.active, ~RESETS)
    np.testing.assert_array_equal(seen.cut, RESETS)
    np.testing.assert_array_equal(seen.gains[RESETS], 0)
    terms = np.where(RESETS, 0, (seen.gains - 1) ** 2)
    np.testing.assert_allclose(seen.omega, terms.sum() / B, rtol=1e-5)


@pytest.mark.parametrize("weights", [np.arange(T) == T - 1, np.ones(T)])
def test_the_horizon_ends_at_the_reset(weights):
    """Whether the loss reads the last step or all of them, episode by episode."""

    def loss(w, record):
        _, y = ltd.unroll(
            cell,
            w,
            START[:1],
            0 * X[:, :1],
            resets=EPISODE,
            reset_carry=0 * FRESH,
            flow_record=record,
        )
        return jnp.sum(weights * jnp.sum(y, axis=(1, 2)))

    seen = jax.jit(jax.grad(loss, 1))(0.9 * np.eye(H), ltd.FlowRecord.zeros((T, 1)))
    assert ltd.LayerFlow.from_record(seen).horizon() == T - 5


def test_every_leaf_of_the_carry_begins_anew():
    """Counters too; what is not floating has no gradient, but it restarts."""

    def counting(w, carry, x):
        h, count = carry
        h, _ = cell(w, h, x + 0.1 * count[:, None])
        return (h, count + 1), count

    start = START, np.zeros(B, np.int32)
    _, counts = ltd.unroll(
        counting, W, start, X, resets=RESETS, reset_carry=(FRESH, 7), flow_weight=1.0
    )
    count, expected = np.zeros(B, int), []
    for reset in RESETS:
        count = np.where(reset, 7, count)
        expected.append(count)
        count = count + 1
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resets": RESETS}, "`reset_carry` must be given with `resets`"),
        ({"resets": RESETS[0], "reset_carry": FRESH}, "`resets` must be boolean"),
        ({"resets": 1 * RESETS, "reset_carry": FRESH}, "`resets` must be boolean"),
        ({"resets": RESETS, "reset_carry": X}, "`reset_carry` must have the structure"),
        ({"resets": RESETS, "reset_carry": (FRESH,)}, "`reset_carry` must have"),
    ],
)
def test_what_cannot_be_a_reset_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ltd.unroll(cell, W, START, X, **given)
