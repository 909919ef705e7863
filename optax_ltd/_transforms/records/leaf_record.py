"""What a transformation remembers of each leaf: its last norm, and whose it is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.dtypes import is_inexact
from optax_ltd._transforms.records.record import key_name, leaf_paths


class Place(NamedTuple):
    """Stands where a tree has a floating or complex leaf."""


class LeafRecord(NamedTuple):
    """The norm of each leaf of the last gradient.

    One vector, as every array of a state costs time at each step. Whose the entries
    are stays in the structure of the state, which holds no array for it.

    Attributes:
      norms: before anything was done to the gradient, [leaves]; 0 before the first.
      places: a tree like the parameters with a `Place` for each entry, in order.
    """

    norms: jax.Array
    places: Any


def init_leaf_record(params: Any) -> LeafRecord:
    """A record of no gradient yet for the floating and complex leaves of a tree."""
    places = jax.tree.map(
        lambda leaf: Place() if is_inexact(leaf) else optax.MaskedNode(), params
    )
    return LeafRecord(jnp.zeros(leaf_count(params), float), places)


def leaf_count(tree: Any) -> int:
    """How many floating and complex leaves a tree has."""
    return sum(map(is_inexact, jax.tree.leaves(tree)))


def leaf_keys(record: LeafRecord) -> list[list[str]]:
    """The names along the path of each entry, in order."""
    # With a leaf in each place again, as `leaf_paths` expects.
    is_place = lambda node: isinstance(node, Place)
    filled = jax.tree.map(lambda _: 0, record.places, is_leaf=is_place)
    return [[*map(key_name, path)] for path in leaf_paths(filled)]
