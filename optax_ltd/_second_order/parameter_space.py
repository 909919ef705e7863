"""The real leaves of a tree of parameters as one vector, in at least float32."""

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.dtypes import is_inexact, widened
from optax_ltd._numerics.leaves import Flags, Leaves, combine, inexact, partition

Vector: TypeAlias = list[jax.Array]


@dataclasses.dataclass(frozen=True)
class ParameterSpace:
    """Which leaves of a tree move, and how vectors become such trees.

    Attributes:
      structure: of the tree.
      moves: whether each leaf is floating.
      moving: the floating leaves, which are the point that vectors go out from.
      fixed: the others.
    """

    structure: Any
    moves: Flags
    moving: list[jax.Array]
    fixed: Leaves

    @classmethod
    def of(cls, params: Any) -> "ParameterSpace":
        """The space around some parameters, which must have no complex leaf."""
        leaves, structure = jax.tree.flatten(params)
        check_real("params", params)
        moves = inexact(leaves)
        moving, fixed = partition(moves, leaves)
        return cls(structure, moves, [*map(jnp.asarray, moving)], fixed)

    @property
    def point(self) -> Vector:
        """The parameters as a vector."""
        return [widened(leaf) for leaf in self.moving]

    def vector(self, name: str, tree: Any) -> Vector:
        """The entries of a tree like the parameters, where these have floating ones.

        Args:
          name: what the tree is called, for the message.
          tree: the tree.

        Returns:
          Its leaves in the dtypes of the point.

        Raises:
          ValueError: it has another structure, or leaves of other shapes.
        """
        leaves, structure = jax.tree.flatten(tree)
        if structure != self.structure:
            raise refusal(name, f"a tree like `params`, {self.structure}", structure)
        chosen = [jnp.asarray(leaf) for leaf in partition(self.moves, leaves)[0]]
        paths = [
            jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)
        ]
        named = zip(partition(self.moves, paths)[0], chosen, self.moving, strict=True)
        for path, leaf, like in named:
            if leaf.shape != like.shape or not jnp.isrealobj(leaf):
                required = f"a tree of real arrays like `params`,{_at(path)} of shape"
                raise refusal(name, f"{required} {like.shape}", leaf)
        pairs = zip(chosen, self.point, strict=True)
        return [leaf.astype(x.dtype) for leaf, x in pairs]

    def tree(self, vector: Vector) -> Any:
        """The parameters that a vector stands for, each leaf in its own dtype."""
        pairs = zip(vector, self.moving, strict=True)
        moved = [x.astype(leaf.dtype) for x, leaf in pairs]
        return self.structure.unflatten(combine(self.moves, moved, self.fixed))

    def after(self, step: Vector) -> Any:
        """The parameters after a step, rounded as `optax.apply_updates` rounds."""
        pairs = zip(self.moving, step, strict=True)
        moved = [(leaf + x).astype(leaf.dtype) for leaf, x in pairs]
        return self.structure.unflatten(combine(self.moves, moved, self.fixed))

    def masked(self, vector: Vector) -> Any:
        """A tree with the entries of a vector, and no leaf where nothing moves."""
        idle = [optax.MaskedNode() for _ in self.fixed]
        return self.structure.unflatten(combine(self.moves, vector, idle))

    def like(self, tree: Any, vector: Vector) -> Any:
        """A tree with the entries of a vector, in the dtypes of another one's leaves.

        What does not move keeps the leaves of the other tree. Where that has integers
        the entries keep the dtype that they have.
        """
        leaves, structure = jax.tree.flatten(tree)
        old, rest = partition(self.moves, leaves)
        new = [
            x.astype(jnp.result_type(y)) if is_inexact(y) else x
            for x, y in zip(vector, old, strict=True)
        ]
        return structure.unflatten(combine(self.moves, new, rest))


def check_real(name: str, tree: Any) -> None:
    """Requires that no leaf is complex: a step is one in real numbers.

    Args:
      name: what the tree is called, for the message.
      tree: the tree.

    Raises:
      ValueError: a leaf is complex.
    """
    for path, leaf in jax.tree.leaves_with_path(tree):
        if jnp.iscomplexobj(leaf):
            where = _at(jax.tree_util.keystr(path))
            told = f"a tree of real arrays{where and ';' + where}"
            raise refusal(name, told, leaf)


def _at(path: str) -> str:
    """Where a leaf is, for a message; nothing of a tree that is one leaf."""
    return path and f" at {path}"


def dot(x: Vector, y: Vector) -> jax.Array:
    """The inner product, added up in float32 or wider.

    By products and sums: `jnp.vdot` rounds its factors on some accelerators.
    """
    parts = [jnp.sum(a * b) for a, b in zip(x, y, strict=True)]
    return sum(parts[1:], parts[0]) if parts else jnp.zeros(())


def plus(x: Vector, by: jax.Array, y: Vector) -> Vector:
    """The vector x + by · y."""
    return [a + by.astype(b.dtype) * b for a, b in zip(x, y, strict=True)]


def times(by: jax.Array, x: Vector) -> Vector:
    """The vector by · x."""
    return [by.astype(a.dtype) * a for a in x]


def choose(when: jax.Array, x: Vector, y: Vector) -> Vector:
    """The vector x if `when` says so, else y."""
    return [jnp.where(when, a, b) for a, b in zip(x, y, strict=True)]


def zeros_like(x: Vector) -> Vector:
    """The zero vector of a kind."""
    return [jnp.zeros_like(a) for a in x]


def all_finite(x: Vector) -> jax.Array:
    """Whether every entry is finite."""
    parts = [jnp.all(jnp.isfinite(a)) for a in x]
    return jnp.all(jnp.stack(parts)) if parts else jnp.ones((), bool)
