"""What every initializer is, and the shape that most of them ask for."""

from collections.abc import Callable

import jax

# (key, shape, dtype=float32) -> array
Initializer = Callable[..., jax.Array]


def square_size(shape: tuple[int, ...]) -> int:
    """The n of a shape (n, n)."""
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"`shape` must be that of a square matrix; got {tuple(shape)}."
        )
    return shape[0]
