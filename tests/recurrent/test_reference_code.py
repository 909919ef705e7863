"""Ω of the authors' code for tanh and sigmoid units, written out in NumPy.

There the ratio is one of squared norms, a term counts where ‖δ‖² is not below a bound,
the mean runs over the terms that count, and the gradient goes to W_hh alone. With
a_t = δ_t φ'(h_t) the passed signal is a_t W_hhᵀ, and with h held constant

    ∇_W ‖a Wᵀ‖² / ‖δ‖² = 2 (a Wᵀ)ᵀ a / ‖δ‖².

The code holds the slope φ'(h_t) constant too, as ``flow_slopes="held"`` does. In the
paper's own variables, whose state is the pre-activation, that is Eq. (10): x_t held
constant holds φ'(x_t).
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd

T, B, H, F = 6, 4, 5, 3
RNG = np.random.default_rng(2)
PARAMS = {
    "W_hh": RNG.normal(size=(H, H)) * 0.8,
    "W_uh": RNG.normal(size=(F, H)),
    "b_hh": RNG.normal(size=H),
    "W_hy": RNG.normal(size=(H, 2)),
}
X, TARGET = RNG.normal(size=(T, B, F)), RNG.normal(size=(B, 2))
# The last example has no error at all: its terms fall under the bound.
EXAMPLES = np.array([1.0, 1.0, 1.0, 0.0])
UNITS = {
    "tanh": (np.tanh, jnp.tanh, lambda h: 1 - h**2),
    "sigmoid": (
        lambda a: 1 / (1 + np.exp(-a)),
        jax.nn.sigmoid,
        lambda h: h * (1 - h),
    ),
}


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _reference(unit: str) -> tuple[float, np.ndarray]:
    """Ω and its gradient in W_hh for the squared error at the last step."""
    activation, _, slope = UNITS[unit]
    p, h = PARAMS, [np.zeros((B, H))]
    for x in X:
        h.append(activation(h[-1] @ p["W_hh"] + x @ p["W_uh"] + p["b_hh"]))
    wrong = 2 * (h[-1] @ p["W_hy"] - TARGET) * EXAMPLES[:, None] / B
    delta = wrong @ p["W_hy"].T
    total, count, grad = 0.0, 0, np.zeros((H, H))
    for t in range(T, 0, -1):
        a = delta * slope(h[t])
        passed = a @ p["W_hh"].T
        squares = np.sum(delta**2, -1)
        for b in np.flatnonzero(squares >= 1e-20):
            ratio = np.sum(passed[b] ** 2) / squares[b]
            total, count = total + (ratio - 1) ** 2, count + 1
            grad += 2 * (ratio - 1) * 2 * np.outer(passed[b], a[b]) / squares[b]
        delta = passed
    return total / count, grad / count


@pytest.mark.parametrize("unit", UNITS)
def test_equals_the_reference_code(unit: str):
    _, activation, _ = UNITS[unit]

    def cell(p: Any, h: Any, x: Any) -> Any:
        h = activation(h @ p["W_hh"] + x @ p["W_uh"] + p["b_hh"])
        return h, h

    def loss(params: Any, alpha: Any, record: Any) -> Any:
        _, h = ltd.unroll(
            cell,
            {k: v for k, v in params.items() if k != "W_hy"},
            jnp.zeros((B, H)),
            X,
            flow_weight=alpha,
            flow_form="squared_ratio",
            flow_slopes="held",
            flow_reduction="mean",
            flow_params="recurrent",
            flow_record=record,
        )
        wrong = jnp.sum((h[-1] @ params["W_hy"] - TARGET) ** 2, -1)
        return jnp.mean(wrong * EXAMPLES)

    params = jax.tree.map(jnp.asarray, PARAMS)
    record = ltd.FlowRecord.zeros((T, B))
    grad = jax.jit(jax.grad(loss, (0, 2)))
    off, _ = grad(params, 0.0, record)
    on, record = grad(params, 4.0, record)
    omega, grad_w = _reference(unit)
    np.testing.assert_allclose((on["W_hh"] - off["W_hh"]) / 4, grad_w, rtol=1e-9)
    for other in ("W_uh", "b_hh", "W_hy"):
        np.testing.assert_array_equal(on[other], off[other])
    assert float(record.omega) == pytest.approx(omega, rel=1e-6)
    np.testing.assert_array_equal(np.asarray(record.active)[:, 3], 0)
