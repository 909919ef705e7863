"""Orthonormal columns, how much they had grown, and the derivative of both."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import triangular_solve

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def orthonormalised(vectors: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Orthonormal columns that span the same, and the logarithms of their growth.

    From J_t Q_{t-1} = Q_t R_t follows J_T ⋯ J_1 Q_0 = Q_T (R_T ⋯ R_1). As each R_t is
    upper triangular, so is their product, and the first i columns span a volume of the
    product of its first i diagonal entries. That volume grows at the rate of the sum of
    the i largest exponents, and so λ_i is the mean of log |R_t| at entry i. Columns
    carried along without QR would all turn to the first direction; Q_t keeps the spans.
    The sign of an entry, and of its column of Q_t, is arbitrary and cancels.

    Args:
      vectors: ``[..., n, k]``, n >= k.

    Returns:
      The columns ``[..., n, k]``; log |R| on the diagonal, ``[..., k]``; and whether a
      column is lost, ``[..., k]``.
    """
    q, r = jnp.linalg.qr(vectors)
    return q, *_growth(r, vectors)


def resolution(vectors: jax.Array) -> float:
    """The share of a column's length that rounding can tell from nothing.

    Where a column lies in the span of those before it, rounding leaves as much as n ε
    of it, by the usual bound of a numerical rank.

    Args:
      vectors: ``[..., n, k]``.
    """
    return vectors.shape[-2] * float(jnp.finfo(vectors.dtype).eps)


def _growth(r: jax.Array, vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Growth of each column, and whether it is lost."""
    diagonal = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
    longest = jnp.max(jnp.abs(r), axis=-2)
    return jnp.log(diagonal), diagonal <= resolution(vectors) * longest


@orthonormalised.defjvp
def _orthonormalised_jvp(primals: Any, tangents: Any) -> Any:
    """From V = Q R.

    With X = dV R⁻¹ and A = Qᵀ X, dV = dQ R + Q dR becomes Qᵀ dQ + dR R⁻¹ = A. The first
    of these is antisymmetric and the second upper triangular, so that the first is the
    part of A below the diagonal less its transpose, and the second has the diagonal of
    A: the derivative of log |R|. There is no difference of exponents to divide by, so
    nothing happens where two of them cross.

    R must be invertible. For a lost column stands that of Q, of whatever direction it
    is, as a column of V at rest: that of R is then as in the identity.
    """
    (vectors,), (moved,) = primals, tangents
    q, r = jnp.linalg.qr(vectors)
    growth, lost = _growth(r, vectors)
    at_rest = lost[..., None, :]
    r = jnp.where(at_rest, jnp.eye(r.shape[-1], dtype=r.dtype), r)
    x = triangular_solve(r, jnp.where(at_rest, 0, moved), left_side=False)
    a = _matmul(q.mT, x)
    below = jnp.tril(a, -1)
    turned = x + _matmul(q, below - below.mT - a)
    slope = jnp.diagonal(a, axis1=-2, axis2=-1)
    none = np.zeros(lost.shape, jax.dtypes.float0)
    return (q, growth, lost), (turned, slope, none)
