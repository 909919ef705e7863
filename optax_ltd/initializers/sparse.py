"""Sparse Gaussian recurrent weights of a given spectral radius."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from optax_ltd._numerics.checks import check_count, check_number
from optax_ltd.initializers._initializer import Initializer, square_size

_SQUARINGS = 24


def sparse(
    num_nonzero: int = 15,
    *,
    spectral_radius: ArrayLike = 0.95,
    axis: Literal[0, 1] = 1,
) -> Initializer:
    r"""Sparse Gaussian recurrent weights, scaled to a given spectral radius.

    Each row holds ``num_nonzero`` normal numbers at random places; the whole matrix is
    then scaled so that its largest eigenvalue has modulus ``spectral_radius``. The
    scale is found with matrix products alone, so it runs on every platform and under
    ``jit`` and ``vmap``.

    The defaults are the "smart tanh" of Pascanu et al., in whose code, as in the
    kernels of Flax, a row holds what a unit sends. The recurrent weights of Sutskever
    et al., of which each unit receives 15, are ``sparse(spectral_radius=1.1, axis=0)``.

    Args:
      num_nonzero: Weights per row that are not zero; rows shorter than this are dense.
      spectral_radius: Modulus of the largest eigenvalue.
      axis: Along which that many are not zero: 1 for the rows, 0 for the columns.

    Returns:
      An initializer of square matrices ``[n, n]``.

    Raises:
      ValueError: If ``num_nonzero`` is no int of at least 1, ``spectral_radius`` no
        finite number above 0 or ``axis`` neither 0 nor 1, or, when called, if the shape
        is not square.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> init = ltd.initializers.sparse(2, spectral_radius=0.95)
      >>> weights = init(jax.random.key(0), (5, 5))
      >>> (weights != 0).sum(axis=1).tolist()
      [2, 2, 2, 2, 2]

    References:
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013; Sutskever, Martens, Dahl and Hinton, *On the importance of
      initialization and momentum in deep learning*, 2013.
    """
    num_nonzero = check_count("num_nonzero", num_nonzero, at_least=1)
    spectral_radius = check_number("spectral_radius", spectral_radius, above=0)
    rows = check_count("axis", axis, at_least=0, at_most=1)

    def init(
        key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> jax.Array:
        n = square_size(shape)
        value_key, place_key = jax.random.split(key)
        values = jax.random.normal(value_key, (n, n), jnp.float32)
        mask = jnp.broadcast_to(jnp.arange(n) < num_nonzero, (n, n))
        mask = jax.random.permutation(place_key, mask, axis=1, independent=True)
        weights = jnp.where(mask, values, 0)
        weights = weights if rows else weights.T
        # Never zero: a graph with an edge out of, or into, every node has a cycle.
        return (weights * (spectral_radius / _spectral_radius(weights))).astype(dtype)

    return init


def _spectral_radius(matrix: jax.Array) -> jax.Array:
    r"""Spectral radius by Gelfand's formula, lim ‖A^k‖^{1/k}, k a power of two.

    Eigenvalues of a general matrix exist on few platforms; products on all. With the
    matrix scaled to norm 1 before every squaring, log ρ = Σ_i 2^{-i} log(norm_i).
    """

    def square(i: jax.Array, state: tuple[jax.Array, jax.Array]):
        power, log_radius = state
        norm = jnp.linalg.norm(power)
        power = power / norm
        squared = jnp.matmul(power, power, precision=jax.lax.Precision.HIGHEST)
        return squared, log_radius + jnp.log(norm) * 0.5**i

    state = (matrix, jnp.zeros((), matrix.dtype))
    return jnp.exp(jax.lax.fori_loop(0, _SQUARINGS, square, state)[1])
