"""How fast the states of a recurrent cell part or meet along a trajectory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._recurrent.flow.tangent_growth import mean_growth


def lyapunov_exponents(
    cell_fn: Callable[..., Any],
    params: Any,
    carry: Any,
    inputs: Any = None,
    length: int | None = None,
    *,
    num_exponents: int | None = None,
    warmup: int = 0,
    qr_every: int = 1,
) -> jax.Array:
    r"""The Lyapunov spectrum of a recurrent cell along a trajectory, by the QR method.

    Where a gain says what one step does to the error signal of one loss, an exponent
    says what the product of all Jacobians does to every direction, whatever the loss:

    .. math:: \lambda_i = \lim_{T \to \infty} \frac{1}{T}
      \log \sigma_i(J_T \cdots J_1),
      \quad J_t = \frac{\partial h_t}{\partial h_{t-1}}

    with σ_i the singular values, largest first. If all are below 0 every error signal
    vanishes in the long run; those near 0 are directions along which it lasts; one
    above 0 lets it explode, and the dynamics are chaotic if they stay bounded.

    Orthonormal tangent vectors Q are carried along by ``jax.jvp`` and made orthonormal
    again, J_t Q_{t-1} = Q_t R_t; λ_i is the mean of the logarithm of the i-th diagonal
    entry of R_t, without its sign. Over a finite time this is exact for the sum of all
    exponents, while each of them errs by O(1/T) until the vectors are aligned: see
    ``warmup``. An example's exponents do not depend on the other examples.

    All is computed in at least float32: params, carry and inputs in half precision are
    widened first. Where two exponents differ by more than about 15 in float32 (35 in
    float64), rounding hides the lower one. ``jax.grad`` passes through, and so
    :func:`flossing_penalty` drives exponents to 0.

    Args:
      cell_fn: ``(params, carry, x) -> (carry, y)``, as in :func:`unroll`. It treats
        each example of a batch alone.
      params: tree of arrays.
      carry: the initial carry, a tree of ``[B, ...]``. Its floating leaves together are
        the state of n numbers per example; a complex number counts as two. Other
        leaves are handed on.
      inputs: tree of ``[T, B, ...]``, or None for a cell that runs by itself.
      length: T, needed only where ``inputs`` has no leaf.
      num_exponents: how many exponents, the largest ones, from 1 to n; all n by
        default. The cost is that of as many forward passes, and of the QR.
      warmup: steps at the start whose growth is not counted, from 0 to T - 1, while the
        vectors turn into place and the state comes near its attractor.
      qr_every: steps between two QR decompositions. More is cheaper; but vectors that
        meet or grow too far in between lose their digits.

    Returns:
      ``[B, num_exponents]``, per step in natural logarithms, largest first; float32 or
      wider. A direction that a step maps to zero has -Inf, or what rounding leaves of
      it; all are NaN where the trajectory or its derivatives are not finite.

    Raises:
      ValueError: if an option is out of range, the carry has no floating leaf or one
        without the batch axis, or the cell returns no pair or changes the structure or
        shapes of the carry.

    Examples:
      Arnold's cat map stretches by the square of the golden ratio along one direction
      and shrinks as much along another; the logarithm of that square is 0.9624.

      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> cat_map = lambda A, h, x: (h @ A % 1, None)
      >>> A, start = jnp.array([[2.0, 1.0], [1.0, 1.0]]), jnp.array([[0.2, 0.3]])
      >>> ltd.lyapunov_exponents(cat_map, A, start, jnp.zeros((100, 1)), warmup=10)
      Array([[ 0.9624..., -0.9624...]], dtype=float32)

      A Flax cell is split into its structure and its parameters.

      >>> from flax import nnx
      >>> graphdef, params = nnx.split(nnx.GRUCell(3, 8, rngs=nnx.Rngs(0)))
      >>> cell_fn = lambda params, h, x: nnx.merge(graphdef, params)(h, x)
      >>> start, inputs = jnp.zeros((2, 8)), jnp.ones((50, 2, 3))
      >>> exponents = ltd.lyapunov_exponents(cell_fn, params, start, inputs)
      >>> exponents.shape, bool(exponents.max() < 0)
      ((2, 8), True)

    References:
      Benettin, Galgani, Giorgilli & Strelcyn, *Lyapunov characteristic exponents for
      smooth dynamical systems and for Hamiltonian systems*, Meccanica 15, 1980.

      Vogt, Puelma Touzel, Shlizerman & Lajoie, `On Lyapunov exponents for RNNs
      <https://arxiv.org/abs/2006.14123>`_, 2022.

      Engelken, Wolf & Abbott, `Lyapunov spectra of chaotic recurrent neural networks
      <https://arxiv.org/abs/2006.02427>`_, 2023.
    """
    growth = mean_growth(
        cell_fn,
        params,
        carry,
        inputs,
        length,
        num_exponents=num_exponents,
        warmup=warmup,
        qr_every=qr_every,
    )
    return jnp.sort(growth, descending=True)
