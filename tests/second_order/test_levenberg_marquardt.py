"""λ follows how much of the predicted reduction came true."""

import jax.numpy as jnp
import pytest

from optax_ltd._second_order.levenberg_marquardt import adapted, reduction_ratio


@pytest.mark.parametrize(
    ("ratio", "factor"),
    [(-float("inf"), 3 / 2), (0.24, 3 / 2), (0.25, 1), (0.75, 1), (0.76, 2 / 3)],
)
def test_the_rule(ratio: float, factor: float):
    damping, held = adapted(jnp.asarray(0.6), jnp.asarray(ratio))
    assert float(damping) == pytest.approx(0.6 * factor)
    assert not held


@pytest.mark.parametrize(("end", "ratio"), [(1e-12, 1.0), (1e12, 0.0)])
def test_both_ends(end: float, ratio: float):
    damping, held = adapted(jnp.asarray(end), jnp.asarray(ratio))
    assert float(damping) == pytest.approx(end)
    assert held
    _, held = adapted(jnp.asarray(end), jnp.asarray(1 - ratio))
    assert not held


def test_the_ratio():
    ratio = lambda change, predicted: reduction_ratio(
        jnp.array(change), jnp.array(predicted)
    )
    assert ratio(-1.0, -2.0) == 0.5
    assert ratio(1.0, -2.0) == -0.5
    assert ratio(float("inf"), -2.0) == -float("inf")
    # A model that predicts none is worth no trust, whatever came.
    assert ratio(-1.0, 0.0) == ratio(1.0, 3.0) == 0
