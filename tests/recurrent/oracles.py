"""Slow and plain ways to the numbers that the backward pass of `unroll` gives.

Everything holds the error signals and the carries fixed, as Pascanu et al. do: they are
computed first, and Ω is then a function of the parameters of single steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

import optax_ltd as ltd
from tests.recurrent.cells import Case

Loss = Callable[[Any, Any], jax.Array]
FORMS = ("ratio", "squared_ratio")
REDUCTIONS = ("sum", "mean")
VARIANTS = [(form, reduction) for form in FORMS for reduction in REDUCTIONS]


class Frozen(NamedTuple):
    """What Ω holds constant: h_{t-1}, x_t and δ_t, each ``[T, B, ...]``."""

    carries: Any
    inputs: Any
    errors: Any


def plain_loss(case: Case, loss: Loss, params: Any, carry: Any, inputs: Any) -> Any:
    """The loss through ``jax.lax.scan``."""
    body = lambda c, x: case.cell(params, c, x)
    return loss(*jax.lax.scan(body, carry, inputs))


def flow_loss(
    case: Case, loss: Loss, params: Any, carry: Any, inputs: Any, **options: Any
) -> Any:
    """The loss through ``ltd.unroll``."""
    return loss(*ltd.unroll(case.cell, params, carry, inputs, **options))


def frozen(case: Case, loss: Loss) -> Frozen:
    """Carries, and δ_t as the gradient in a shift of h_t as all its readers see it."""

    def shifted(shifts: Any) -> Any:
        def body(carry: Any, at: Any) -> Any:
            x, shift = at
            new, y = case.cell(case.params, carry, x)
            new = jax.tree.map(jnp.add, new, shift)
            return new, (carry, case.aliased(new, y))

        final, (carries, outputs) = jax.lax.scan(body, case.carry, (inputs, shifts))
        return loss(final, outputs), carries

    inputs = case.inputs
    none = jax.tree.map(lambda h: jnp.zeros((len(inputs), *h.shape)), case.carry)
    errors, carries = jax.grad(shifted, has_aux=True)(none)
    return Frozen(carries, inputs, errors)


def gains_by_vjp(case: Case, params: Any, held: Frozen) -> jax.Array:
    """‖δ_t J_t‖ / ‖δ_t‖ by the explicit formula, open to ordinary ``jax.grad``."""

    def passed_on(carry: Any, x: Any, error: Any) -> Any:
        return jax.vjp(lambda h: case.cell(params, h, x)[0], carry)[1](error)[0]

    return _norm(jax.vmap(passed_on)(*held)) / _norm(held.errors)


def gains_by_jacobian(case: Case, params: Any, held: Frozen) -> jax.Array:
    """The same from whole Jacobians by forward mode, one example at a time."""

    def one(carry: Any, x: Any, error: Any) -> jax.Array:
        flat, unravel = jax.flatten_util.ravel_pytree(carry)
        step = lambda h: jax.flatten_util.ravel_pytree(
            case.cell(params, unravel(h), x)[0]
        )
        jacobian = jax.jacfwd(lambda h: step(h)[0])(flat)
        delta = jax.flatten_util.ravel_pytree(error)[0]
        return jnp.linalg.norm(delta @ jacobian) / jnp.linalg.norm(delta)

    return jax.vmap(jax.vmap(one))(*held)


def omega(gains: Any, form: str, reduction: str, active: Any = None) -> Any:
    """Ω written out: Σ_t mean_b, or the mean over what is active."""
    active = jnp.ones(gains.shape, bool) if active is None else active
    terms = (gains - 1) ** 2 if form == "ratio" else (gains**2 - 1) ** 2
    total = jnp.sum(jnp.where(active, terms, 0))
    return total / (gains.shape[1] if reduction == "sum" else jnp.sum(active))


def omegas(gains: Any) -> jax.Array:
    """Ω in each of VARIANTS."""
    return jnp.stack([omega(gains, *variant) for variant in VARIANTS])


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(x**2, -1) for x in jax.tree.leaves(tree)))


def assert_close(left: Any, right: Any, rtol: float, atol: float = 0.0) -> None:
    """Same structure, and leaves equal within the tolerances."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def assert_equal(left: Any, right: Any) -> None:
    """Same structure, and leaves equal to the last bit.

    On an accelerator two programs may compute one number by two kernels: to a rounding.
    """
    if jax.default_backend() == "cpu":
        assert_close(left, right, 0.0)
    else:
        assert_close(left, right, 1e-5, 1e-6)


def minus(left: Any, right: Any) -> Any:
    return jax.tree.map(np.subtract, left, right)


def finite(tree: Any) -> bool:
    return all(np.all(np.isfinite(x)) for x in jax.tree.leaves(tree))
