"""The identity, for units that start as perfect memories."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from optax_ltd._numerics.checks import check_number
from optax_ltd.initializers._initializer import Initializer, square_size


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
        return scale * jnp.eye(square_size(shape), dtype=dtype)

    return init
