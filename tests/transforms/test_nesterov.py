"""Nesterov momentum as Sutskever et al. write it, and as Optax computes it.

Theirs, equations 3 and 4: v' = mu v - rate g(x + mu v) and x' = x + v'. The point at
which the gradient is taken is p = x + mu v. As x' = p - mu v + v', the next one is

    p' = x' + mu' v' = p - rate g(p) + mu' v'

Optax's trace m' = g(p) + mu m, scaled by -rate, is v' where the rate is constant, and
its step is p' = p - rate (g(p) + mu m') = p - rate g(p) + mu v'. So its parameters are
p, and where mu' is not mu it looks ahead by the old one.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest

import optax_ltd as ltd

CURVATURE = np.diag([1.0, 4.0, 0.2]) + 0.1
START = np.array([1.0, -2.0, 0.5])
UPDATES = 12
CHANGE = 5  # the first update with other numbers

CONSTANT = (lambda _: 0.9, lambda _: 0.05)
MOMENTUM_CHANGES = (lambda t: 0.9 if t < CHANGE else 0.98, lambda _: 0.05)
RATE_CHANGES = (lambda _: 0.9, lambda t: 0.05 if t < CHANGE else 0.02)


def gradient(x: Any) -> Any:
    """That of x A x / 2 + sum(x^4) / 4."""
    return CURVATURE @ x + x**3


class Path(NamedTuple):
    """Parameters, points of the gradients and velocities [updates + 1, 3]."""

    x: np.ndarray
    p: np.ndarray
    v: np.ndarray


def theirs(momentum: Any, rate: Any) -> Path:
    x, v, made = START, np.zeros(3), []
    for t in range(UPDATES + 1):
        ahead = x + momentum(t) * v
        made.append((x, ahead, v))
        v = momentum(t) * v - rate(t) * gradient(ahead)
        x = x + v
    return Path(*map(np.stack, zip(*made, strict=True)))


def of_optax(momentum: Any, rate: Any) -> Path:
    """Its parameters are `p`; `v` is its trace at the rate of the update before."""
    made = []
    with jax.enable_x64(True):
        tx = optax.inject_hyperparams(optax.sgd)(
            learning_rate=_schedule(rate), momentum=_schedule(momentum), nesterov=True
        )
        p = jax.numpy.asarray(START)
        state: Any = tx.init(p)
        update = jax.jit(tx.update)
        for t in range(UPDATES + 1):
            v = -rate(t - 1) * np.asarray(state.inner_state[0].trace)
            made.append((np.asarray(p) - momentum(t) * v, np.asarray(p), v))
            updates, state = update(gradient(p), state, p)
            p = optax.apply_updates(p, updates)
    return Path(*map(np.stack, zip(*made, strict=True)))


def _schedule(value: Any) -> optax.Schedule:
    first, last = value(0), value(CHANGE)
    return ltd.momentum_schedule(last, first_momentum=first, steps=CHANGE)


def test_with_constant_numbers_the_parameters_of_optax_are_the_points_ahead():
    expected, made = theirs(*CONSTANT), of_optax(*CONSTANT)
    assert np.abs(expected.p - expected.x).max() > 0.1  # which are others than x
    np.testing.assert_allclose(made.p, expected.p, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(made.x, expected.x, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(made.v, expected.v, rtol=1e-12, atol=1e-14)


def test_where_the_momentum_changes_optax_looks_ahead_by_the_old_one():
    momentum, rate = MOMENTUM_CHANGES
    expected, made = theirs(momentum, rate), of_optax(momentum, rate)
    # The gradients are the same up to the change, so the velocity it leads to is.
    same = slice(CHANGE + 1)
    np.testing.assert_allclose(made.v[same], expected.v[same], rtol=1e-12)
    behind = (momentum(CHANGE) - momentum(CHANGE - 1)) * expected.v[CHANGE]
    assert np.abs(behind).max() > 1e-3
    np.testing.assert_allclose(
        expected.p[CHANGE] - made.p[CHANGE], behind, rtol=1e-10, atol=1e-14
    )
    assert np.abs(expected.p[-1] - made.p[-1]).max() > 1e-5


@pytest.mark.parametrize("numbers", [CONSTANT, MOMENTUM_CHANGES, RATE_CHANGES])
def test_every_step_of_optax_in_their_variables(numbers: Any):
    momentum, rate = numbers
    made = of_optax(momentum, rate)
    for t in range(UPDATES):
        # A changed rate scales the velocity that was there.
        kept = made.v[t] * rate(t) / rate(t - 1)
        v = momentum(t) * kept - rate(t) * gradient(made.p[t])
        p = made.p[t] - rate(t) * gradient(made.p[t]) + momentum(t) * v
        np.testing.assert_allclose(made.v[t + 1], v, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(made.p[t + 1], p, rtol=1e-11, atol=1e-14)


def test_where_the_rate_changes_theirs_keeps_the_velocity():
    expected, made = theirs(*RATE_CHANGES), of_optax(*RATE_CHANGES)
    before = slice(CHANGE + 1)
    np.testing.assert_allclose(made.p[before], expected.p[before], rtol=1e-12)
    assert np.abs(expected.p[CHANGE + 1] - made.p[CHANGE + 1]).max() > 1e-3
