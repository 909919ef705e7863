"""Layouts on a mesh with explicit axes, where every array has its own in its type."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec


def layout(leaf: jax.Array) -> PartitionSpec:
    """Along which axes of an explicit mesh a leaf is divided, one entry a dimension."""
    return jax.typeof(leaf).sharding.spec


def in_layout_of(other: jax.Array, leaf: jax.Array) -> jax.Array:
    """A leaf divided as another of its shape, where their axes are explicit."""
    here, there = jax.typeof(leaf), jax.typeof(other)
    if here.shape != there.shape or here.sharding == there.sharding:
        return leaf
    return jax.sharding.reshard(leaf, there.sharding)


def laid_out(
    function: Callable[..., Any], leaves: Sequence[jax.Array], layouts: Any
) -> Callable[..., Any]:
    """A function whose results lie on the devices as told.

    Inside the function the axes are automatic: the compiler finds the layout of what
    is made from nothing, going back from that of the results.

    Args:
      function: the function.
      leaves: what it is called for; their mesh is that of the results.
      layouts: a tree of specs that is a prefix of the results.

    Returns:
      The function; as it is where no axis is explicit.
    """
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in leaves]
    explicit = [mesh for mesh in meshes if mesh.explicit_axes]
    if not explicit:
        return function
    out = jax.tree.map(
        lambda spec: NamedSharding(explicit[0], spec),
        layouts,
        is_leaf=lambda node: isinstance(node, PartitionSpec),
    )
    automatic: Any = jax.sharding.auto_axes(function, out_sharding=out)
    return automatic
