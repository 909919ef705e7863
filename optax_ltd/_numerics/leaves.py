"""Flat lists of leaves, parted into those that carry a gradient and the rest."""

from collections.abc import Sequence
from typing import Any

from optax_ltd._numerics.dtypes import is_inexact

Leaves = list[Any]
Flags = tuple[bool, ...]


def inexact(leaves: Sequence[Any]) -> Flags:
    """Whether each leaf is floating or complex, and so can have a gradient."""
    return tuple(map(is_inexact, leaves))


def partition(flags: Flags, leaves: Sequence[Any]) -> tuple[Leaves, Leaves]:
    """The flagged leaves and the others, each in order."""
    chosen = [x for x, flag in zip(leaves, flags, strict=True) if flag]
    rest = [x for x, flag in zip(leaves, flags, strict=True) if not flag]
    return chosen, rest


def combine(flags: Flags, chosen: Sequence[Any], rest: Sequence[Any]) -> Leaves:
    """Undoes :func:`partition`."""
    first, second = iter(chosen), iter(rest)
    return [next(first) if flag else next(second) for flag in flags]
