r"""A linear net h_t = h_{t-1} W + x_t U, where everything is known in closed form.

Every Jacobian is the same. With rows as vectors u_t = δ_t Wᵀ, and where the loss is
mean_b ⟨c_b, h_T⟩, δ_t = (1/B) c Wᵀ^{T-t}. From d‖u‖ = ⟨u, δ dWᵀ⟩/‖u‖ follow

    ∇_W g_t      = u_tᵀ δ_t / (‖u_t‖ ‖δ_t‖)
    ∇_W (g_t−1)²  = 2 (g_t − 1) ∇_W g_t
    ∇_W (g_t²−1)² = 4 (g_t² − 1) g_t ∇_W g_t

and ∇_U Ω = 0.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.oracles import FORMS, REDUCTIONS, assert_close

T, B, H = 5, 2, 3
RNG = np.random.default_rng(0)
W, U = RNG.normal(size=(H, H)) * 0.7, RNG.normal(size=(H, H))
C, X, H0 = (RNG.normal(size=s) for s in ((B, H), (T, B, H), (B, H)))


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def linear(params: Any, h: Any, x: Any) -> Any:
    h = h @ params["W"] + x @ params["U"]
    return h, h


def _closed_form(form: str, reduction: str) -> tuple[Any, Any, Any, Any]:
    """Norms of δ ``[T, B]``, gains ``[T, B]``, Ω and ∇_W Ω."""
    delta = [C / B]
    for _ in range(T - 1):
        delta.insert(0, delta[0] @ W.T)
    norms, gains = np.zeros((T, B)), np.zeros((T, B))
    omega, grad = 0.0, np.zeros((H, H))
    for t in range(T):
        for b in range(B):
            d = delta[t][b]
            u = d @ W.T
            norms[t, b] = np.linalg.norm(d)
            g = gains[t, b] = np.linalg.norm(u) / norms[t, b]
            grad_g = np.outer(u, d) / (np.linalg.norm(u) * norms[t, b])
            if form == "ratio":
                omega += (g - 1) ** 2
                grad += 2 * (g - 1) * grad_g
            else:
                omega += (g**2 - 1) ** 2
                grad += 4 * (g**2 - 1) * g * grad_g
    terms = B if reduction == "sum" else T * B
    return norms, gains, omega / terms, grad / terms


@pytest.mark.parametrize(
    ("form", "reduction", "through"),
    [(form, reduction, "output") for form in FORMS for reduction in REDUCTIONS]
    + [("ratio", "mean", "carry")],
)
def test_closed_form(form: Any, reduction: Any, through: str):
    def loss(params: Any, weight: Any, record: Any) -> Any:
        carry, y = ltd.unroll(
            linear,
            params,
            H0,
            X,
            flow_weight=weight,
            flow_form=form,
            flow_reduction=reduction,
            flow_record=record,
        )
        return jnp.sum(C * (y[-1] if through == "output" else carry)) / B

    params = {"W": W, "U": U}
    record = ltd.FlowRecord.zeros((T, B))
    grad = jax.jit(jax.grad(loss, (0, 2)))
    off, _ = grad(params, 0.0, record)
    on, record = grad(params, 3.0, record)
    norms, gains, omega, grad_w = _closed_form(form, reduction)
    np.testing.assert_allclose(np.subtract(on["W"], off["W"]) / 3, grad_w, rtol=1e-10)
    np.testing.assert_array_equal(on["U"], off["U"])
    # The record is float32.
    seen = (record.error_norms, record.gains, record.omega)
    assert_close(seen, (norms, gains, omega), 1e-6)
    np.testing.assert_array_equal(record.active, 1)
    np.testing.assert_array_equal(record.clipped, 0)
