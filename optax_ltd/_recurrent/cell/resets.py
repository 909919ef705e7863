"""A carry that begins anew in the middle of a sequence, as where an episode ends."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.example_norms import append_axes


def begin_anew(reset: jax.Array, fresh: Any, carry: Any) -> Any:
    """``fresh`` for the examples to reset, and the carry for the others.

    Args:
      reset: ``[*batch]`` boolean.
      fresh: tree like ``carry``, of shapes that broadcast to those of it.
      carry: tree of ``[*batch, ...]``; what is returned has its dtypes.
    """

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(append_axes(reset, old), jnp.asarray(new, old.dtype), old)

    return jax.tree.map(chosen, fresh, carry)


def resetting(cell_fn: Callable[..., Any]) -> Callable[..., Any]:
    """The cell, which is told with each input whether to begin anew.

    Args:
      cell_fn: ``(params, (carry, state), x) -> ((carry, state), y)``.

    Returns:
      ``((params, fresh), (carry, state), (x, reset)) -> ((carry, state), y)``. The
      derivative of a step by a carry that it does not read is zero, so no error signal
      crosses a reset; the state, such as random counters, goes on.
    """

    def cell(params: Any, both: Any, at: Any) -> Any:
        (params, fresh), (carry, state), (x, reset) = params, both, at
        return cell_fn(params, (begin_anew(reset, fresh, carry), state), x)

    return cell


def check_fresh(name: str, fresh: Any, carry: Any, batch: tuple[int, ...]) -> None:
    """Raises ValueError unless ``fresh`` can take the place of each example's carry."""
    trees = [jax.tree.structure(tree) for tree in (fresh, carry)]
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(t)] for t in (fresh, carry)]
    if trees[0] != trees[1] or not all(map(_broadcasts, *shapes)):
        raise ValueError(
            f"`{name}` must have the structure of the carry and shapes that broadcast "
            f"to its, {trees[1]} of {shapes[1]}; got {trees[0]} of {shapes[0]}."
        )
    if any(shape[: len(batch)] != batch for shape in shapes[1]):
        raise ValueError(
            f"`carry` must have batch axes {batch} in front of each leaf for `resets`; "
            f"got {shapes[1]}."
        )


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return jnp.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
