"""Initial weights that keep a recurrent net's memory alive.

Callables ``(key, shape, dtype) -> array``, as those of ``jax.nn.initializers``, which
has the dense ones (``normal``, ``orthogonal``).
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from optax_ltd._numerics.checks import check_count, check_number

__all__ = ["forget_gate_bias", "identity", "sparse"]

# (key, shape, dtype=float32) -> array
Initializer = Callable[..., jax.Array]

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
        n = _square_size(shape)
        value_key, place_key = jax.random.split(key)
        values = jax.random.normal(value_key, (n, n), jnp.float32)
        mask = jnp.broadcast_to(jnp.arange(n) < num_nonzero, (n, n))
        mask = jax.random.permutation(place_key, mask, axis=1, independent=True)
        weights = jnp.where(mask, values, 0)
        weights = weights if rows else weights.T
        # Never zero: a graph with an edge out of, or into, every node has a cycle.
        return (weights * (spectral_radius / _spectral_radius(weights))).astype(dtype)

    return init


def identity(scale: ArrayLike = 1.0) -> Initializer:
    """The identity matrix times ``scale``: every unit starts as a perfect memory.

    Args:
      scale: Factor of the identity.

    Returns:
      An initializer of square matrices ``[n, n]``.

    Raises:
      ValueError: If ``scale`` is no finite number, or, when called, if the shape is
        not square.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> print(ltd.initializers.identity(0.5)(jax.random.key(0), (2, 2)))
      [[0.5 0. ]
       [0.  0.5]]

    References:
      Le, Jaitly and Hinton, *A simple way to initialize recurrent networks of
      rectified linear units*, 2015.
    """
    scale = check_number("scale", scale)

    def init(
        key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> jax.Array:
        del key
        return scale * jnp.eye(_square_size(shape), dtype=dtype)

    return init


def forget_gate_bias(hidden_features: int, value: ArrayLike = 1.0) -> Initializer:
    """Zero biases, but ``value`` at the forget gates: an LSTM that starts by keeping.

    For ``flax.nnx.OptimizedLSTMCell``, which holds the biases of its input, forget,
    cell and output gates, in this order, in one vector.

    Args:
      hidden_features: Units of the LSTM.
      value: Bias of the forget gates.

    Returns:
      An initializer of vectors ``[4 * hidden_features]``.

    Raises:
      ValueError: If ``hidden_features`` is no int of at least 1 or ``value`` no finite
        number, or, when called, if the shape is another one: a cell with a bias
        vector per gate would be filled wrongly without a word.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> bias_init = ltd.initializers.forget_gate_bias(2)
      >>> print(bias_init(jax.random.key(0), (8,)))
      [0. 0. 1. 1. 0. 0. 0. 0.]
      >>> cell = nnx.OptimizedLSTMCell(3, 2, bias_init=bias_init, rngs=nnx.Rngs(0))

    References:
      Gers, Schmidhuber and Cummins, *Learning to forget*, 2000; Jozefowicz, Zaremba
      and Sutskever, *An empirical exploration of recurrent network architectures*,
      2015.
    """
    hidden_features = check_count("hidden_features", hidden_features, at_least=1)
    value = check_number("value", value)

    def init(
        key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> jax.Array:
        del key
        if tuple(shape) != (4 * hidden_features,):
            raise ValueError(
                f"`shape` must be ({4 * hidden_features},), one vector for all four "
                f"gates; got {tuple(shape)}."
            )
        gates = jnp.zeros((4, hidden_features), dtype)
        return gates.at[1].set(value).reshape(shape)

    return init


def _square_size(shape: tuple[int, ...]) -> int:
    """The n of a shape (n, n)."""
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"`shape` must be that of a square matrix; got {tuple(shape)}."
        )
    return shape[0]


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
