"""A carry of the types that the cell returns, as a loop needs it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.shards import varying_as
from optax_ltd._recurrent.cell.program import CellProgram, trace_cell


def trace_settled(
    cell_fn: Callable[..., Any], params: Any, carry: Any, x: Any, *, hoist: bool
) -> tuple[Any, CellProgram]:
    """Traces a cell, and gives the carry the types that the cell keeps.

    In mixed precision a first carry often has the dtype of the parameters, and all
    others that of the computation. Inside ``jax.shard_map`` zeros are the same on all
    devices, and what becomes of them with a part of the batch is not.

    Args:
      cell_fn: ``(params, carry, x) -> (carry, y)``.
      params: tree of arrays.
      carry: tree of arrays, ``[B, ...]``.
      x: tree of arrays or ShapeDtypeStructs, one time step, ``[B, ...]``.
      hoist: as in :func:`~optax_ltd._recurrent.cell.program.trace_cell`.

    Returns:
      The carry, and the program at that carry. Floating leaves and Python numbers are
      converted where the cell returns another dtype, and leaves vary over the axes of
      ``jax.shard_map`` as those that it returns.

    Raises:
      ValueError: if the cell returns other dtypes even then, or changes the structure
        or the shapes of the carry.
    """
    leaves, tree = jax.tree.flatten(carry)
    rounds = 0
    while True:
        settled = jax.tree.unflatten(tree, leaves)
        program = trace_cell(cell_fn, params, settled, x, hoist=hoist)
        returned = program.carry_types
        converted = list(map(_converted, leaves, returned))
        fits = [
            new is old and old.dtype == kept.dtype
            for new, old, kept in zip(converted, leaves, returned, strict=True)
        ]
        if all(fits):
            return settled, program
        # One leaf's type may pass to the next at each round, and to no more than all.
        if rounds == len(leaves):
            raise ValueError(_complaint(settled, returned))
        rounds += 1
        leaves = converted


def _converted(leaf: jax.Array, to: Any) -> jax.Array:
    if leaf.dtype != to.dtype:
        floating = all(jnp.issubdtype(t.dtype, jnp.floating) for t in (leaf, to))
        leaf = leaf.astype(to.dtype) if floating or leaf.weak_type else leaf
    return varying_as(to, leaf)


def _complaint(carry: Any, returned: tuple[Any, ...]) -> str:
    paths = jax.tree_util.tree_leaves_with_path(carry)
    other = [
        f"carry{jax.tree_util.keystr(path)} has dtype {leaf.dtype}; got {kept.dtype}"
        for (path, leaf), kept in zip(paths, returned, strict=True)
        if leaf.dtype != kept.dtype
    ]
    listed = "; ".join(other)
    return f"the cell must return a carry of the dtypes it was given: {listed}"
