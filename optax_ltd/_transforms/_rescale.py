"""Brings a gradient down to a norm, and puts leaves back into their tree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._numerics.dtypes import is_inexact
from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._transforms.records.record import GradientRecord, update_record


class Rescaling(NamedTuple):
    """How to bring a gradient to a given norm, if it is above it.

    Attributes:
      clipped: whether it is finite and above.
      lift: first factor, a power of two, 1 as a rule.
      factor: second factor. It is 1 if the gradient is not above.
    """

    clipped: jax.Array
    lift: jax.Array
    factor: jax.Array

    @property
    def scale(self) -> jax.Array:
        """Both factors in one, 1 for a gradient that is left alone."""
        return jnp.where(self.clipped, self.lift * self.factor, 1)

    def __call__(self, leaf: jax.Array) -> jax.Array:
        """Applies the factors to a leaf in at least float32; or returns it as is.

        A product, since XLA fuses a scalar factor with the optimiser that follows
        and a division does not come as cheap.
        """
        dtype = jnp.promote_types(leaf.dtype, self.lift.dtype)
        wide = leaf.astype(dtype) * self.lift * self.factor
        return jnp.where(self.clipped, wide.astype(leaf.dtype), leaf)


def threshold_in(dtype: Any, value: Any) -> jax.Array:
    """The threshold as a number of some dtype, at least 0.

    An array below zero cannot be refused; it must not turn the gradient around.
    """
    return jnp.maximum(jnp.asarray(value).astype(dtype), 0)


def rescaling(measured: TreeNorm, max_norm: Any) -> Rescaling:
    """The factors that bring a gradient to `max_norm` where its norm is above.

    Args:
      measured: the gradient's norm.
      max_norm: the threshold.

    Returns:
      The factors.
    """
    threshold = threshold_in(measured.root.dtype, max_norm)
    clipped = measured.finite & (measured.root > threshold * measured.lift)
    # The second `where` keeps 0 / 0 out of the derivative.
    root = jnp.where(clipped, measured.root, 1)
    # A second factor too small to be represented: the first one takes its part.
    info = jnp.finfo(root.dtype)
    least = 2.0 ** -(3 * int(info.maxexp) // 4 + 4)
    small = threshold < root * least
    part = jnp.maximum(measured.lift * least, info.tiny)
    part = jnp.where(measured.lift > 1, 1, part)
    lift = jnp.where(small, part, measured.lift)
    reach = jnp.where(small, threshold * (measured.lift / part), threshold)
    return Rescaling(clipped, lift, jnp.where(clipped, reach / root, 1))


def map_inexact(function: Callable[..., Any], tree: Any, *lists: list[Any]) -> Any:
    """Maps the floating and complex leaves of a tree and passes the others on.

    Args:
      function: takes a leaf and the entries beside it.
      tree: the tree.
      *lists: lists with one entry per leaf of the tree.

    Returns:
      A tree of the same structure.
    """
    leaves, structure = jax.tree.flatten(tree)
    rows = zip(leaves, *lists, strict=True)
    return structure.unflatten(
        [
            function(jnp.asarray(leaf), *entries) if is_inexact(leaf) else leaf
            for leaf, *entries in rows
        ]
    )


def clip(
    updates: Any, measured: TreeNorm, threshold: Any, record: GradientRecord
) -> tuple[Any, GradientRecord]:
    """Brings a gradient down to a norm if it is finite and above.

    Args:
      updates: the gradient.
      measured: its norm.
      threshold: the largest norm.
      record: of the gradients so far.

    Returns:
      The clipped gradient, and the record with this one added.
    """
    rescale = rescaling(measured, threshold)
    record = update_record(
        record, updates, measured, scale=rescale.scale, clipped=rescale.clipped
    )
    return map_inexact(rescale, updates), record
