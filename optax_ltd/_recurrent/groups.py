"""Groups of carry leaves, each with gains, an Ω and a report of its own."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.leaves import Flags, Leaves, inexact


def group_names(flow_groups: Any) -> tuple[str, ...] | None:
    """Each name once, in the order of the tree; None where nothing is named."""
    if flow_groups is None:
        return None
    return tuple(dict.fromkeys(jax.tree.leaves(flow_groups)))


def check_flow_groups(name: str, flow_groups: Any) -> None:
    """Requires None or a tree of strings; raises ValueError."""
    if not all(isinstance(leaf, str) for leaf in jax.tree.leaves(flow_groups)):
        raise refusal(name, "None or a tree of strings", flow_groups)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Groups:
    """Which leaves of the hidden state are looked at together.

    Attributes:
      of_leaf: for each leaf of the carry, and of a state beside it, the number of its
        group; None if it is no part of the hidden state.
      names: of the groups; None where the user named none and all leaves are one group.
    """

    of_leaf: tuple[int | None, ...]
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, flow_groups: Any, carry: Any, state: Any) -> "Groups":
        """The groups of a carry.

        Args:
          flow_groups: tree of strings, a prefix of the carry, or None.
          carry: tree of arrays.
          state: tree of arrays; none of them is part of the hidden state.

        Raises:
          ValueError: if the names do not fit the carry, or one has no floating leaf.
        """
        names = group_names(flow_groups)
        is_hidden = inexact(jax.tree.leaves(carry))
        numbers = [0] * len(is_hidden)
        if names is not None:
            numbers = [names.index(name) for name in _name_leaves(flow_groups, carry)]
        of_leaf = [n if h else None for n, h in zip(numbers, is_hidden, strict=True)]
        for number, name in enumerate(names or ()):
            if number not in of_leaf:
                raise ValueError(
                    "`flow_groups` must have a floating leaf of `carry` in each group; "
                    f"got none in {name!r}."
                )
        beside = [None] * len(jax.tree.leaves(state))
        return cls((*of_leaf, *beside), names)

    @property
    def count(self) -> int:
        """How many groups there are."""
        return 1 if self.names is None else len(self.names)

    @property
    def is_hidden(self) -> Flags:
        """Which leaves of carry and state belong to the hidden state."""
        return tuple(number is not None for number in self.of_leaf)

    def split(self, hidden: Leaves) -> list[Leaves]:
        """The leaves of the hidden state, group by group."""
        parts: list[Leaves] = [[] for _ in range(self.count)]
        for leaf, number in zip(hidden, self._of_hidden(), strict=True):
            parts[number].append(leaf)
        return parts

    def join(self, parts: Sequence[Leaves]) -> Leaves:
        """Undoes :meth:`split`."""
        rest = [iter(part) for part in parts]
        return [next(rest[number]) for number in self._of_hidden()]

    def of_leaves(self, per_group: Sequence[Any]) -> list[Any]:
        """For each leaf of the hidden state what its group has."""
        return [per_group[number] for number in self._of_hidden()]

    def listed(self, by_name: Any) -> list[Any]:
        """What a user gave or gets by the groups' names, in the order of the groups."""
        return [by_name] if self.names is None else [by_name[n] for n in self.names]

    def _of_hidden(self) -> list[int]:
        return [number for number in self.of_leaf if number is not None]


def _name_leaves(flow_groups: Any, carry: Any) -> list[str]:
    """The name that stands at, or above, each leaf of the carry.

    Paths are compared, and not trees, for Linen turns the lists and dicts among a
    module's fields into containers of other types.
    """
    named = jax.tree.leaves_with_path(flow_groups)
    paths = [path for path, _ in jax.tree.leaves_with_path(carry)]

    def covers(at: Any, path: Any) -> bool:
        return path[: len(at)] == at

    found = [[name for at, name in named if covers(at, path)] for path in paths]
    unused = [at for at, _ in named if not any(covers(at, path) for path in paths)]
    if unused or not all(found):
        required = f"a prefix of `carry`, {jax.tree.structure(carry)}"
        raise refusal("flow_groups", required, flow_groups)
    return [name for (name,) in found]
