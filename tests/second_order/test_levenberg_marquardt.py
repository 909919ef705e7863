"""λ follows how much of the predicted reduction came true."""

import jax.numpy as jnp
import pytest

from optax_ltd._second_order.levenberg_marquardt import (
    adapted,
    is_lost_in_rounding,
    reduction_ratio,
)


def _adapted(damping: float, ratio: float, first: float = 0.1, *, lost: bool = False):
    return adapted(
        jnp.asarray(damping), jnp.asarray(ratio), first, lost=jnp.array(lost)
    )


@pytest.mark.parametrize(
    ("ratio", "factor"),
    [(-float("inf"), 3 / 2), (0.24, 3 / 2), (0.25, 1), (0.75, 1), (0.76, 2 / 3)],
)
def test_the_rule(ratio: float, factor: float):
    damping, held = _adapted(0.6, ratio)
    assert float(damping) == pytest.approx(0.6 * factor)
    assert not held


@pytest.mark.parametrize(("end", "ratio"), [(1e-12, 1.0), (1e12, 0.0)])
def test_both_ends(end: float, ratio: float):
    damping, held = _adapted(end, ratio)
    assert float(damping) == pytest.approx(end)
    assert held
    _, held = _adapted(end, 1 - ratio)
    assert not held


@pytest.mark.parametrize("ratio", [-1.0, 0.5, 2.0])
@pytest.mark.parametrize(
    ("damping", "back"), [(0.6, 0.4), (0.12, 0.1), (0.1, 0.1), (0.01, 0.01)]
)
def test_a_ratio_that_is_noise_brings_it_back(
    damping: float, back: float, ratio: float
):
    new, held = _adapted(damping, ratio, first=0.1, lost=True)
    assert float(new) == pytest.approx(back)
    assert not held


def test_what_a_loss_is_too_coarse_for():
    eps = jnp.finfo(jnp.float32).eps
    lost = lambda predicted, loss: is_lost_in_rounding(
        jnp.float32(predicted), jnp.float32(loss)
    )
    assert lost(-8 * eps, 1.0)
    assert lost(-8 * eps, -1.0)
    assert not lost(-9 * eps, 1.0)
    assert not lost(-1e-30, 0.0)


def test_the_ratio():
    ratio = lambda change, predicted: reduction_ratio(
        jnp.array(change), jnp.array(predicted)
    )
    assert ratio(-1.0, -2.0) == 0.5
    assert ratio(1.0, -2.0) == -0.5
    assert ratio(float("inf"), -2.0) == -float("inf")
    # A model that predicts none is worth no trust, whatever came.
    assert ratio(-1.0, 0.0) == ratio(1.0, 3.0) == 0
