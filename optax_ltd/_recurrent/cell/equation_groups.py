"""Which equations of a cell need the carry, and which may leave the loop over time."""

import enum
import math
from collections.abc import Sequence
from typing import Any

from jax.extend.core import JaxprEqn, Literal, Var

from optax_ltd._recurrent.cell import known_values

# Below this contraction length a product of the inputs is cheaper inside the loop.
_LONG_CONTRACTION = 64


class Group(enum.IntEnum):
    """When an equation runs, from the earliest to the latest.

    Attributes:
      ONCE: once per sequence, for it reads parameters alone.
      AHEAD: ahead of the loop and for all time steps at once, for it reads inputs too.
      STEP: at every step of the loop, for it reads the carry, or is best kept there.
    """

    ONCE = 0
    AHEAD = 1
    STEP = 2


class EquationGroups:
    """The equations of one step, each in the earliest group that has what it reads.

    Groups are ordered by time, so that group is the latest among those of what the
    equation reads; what it writes belongs to the same group, and one pass in order
    sorts all. A later group is always right too, only slower.

    Attributes:
      of: the group of each variable.
      from_carry: the variables that depend on the carry.
      equations: by group, in order.
    """

    def __init__(
        self,
        params: Sequence[Var],
        xs: Sequence[Var],
        carry: Sequence[Var],
        *,
        hoist: bool,
    ):
        self._hoist = hoist
        self.of = {
            **dict.fromkeys(params, Group.ONCE),
            **dict.fromkeys(xs, Group.AHEAD),
            **dict.fromkeys(carry, Group.STEP),
        }
        self.from_carry = set(carry)
        self.equations: dict[Group, list[JaxprEqn]] = {group: [] for group in Group}

    def add(self, equation: JaxprEqn) -> None:
        """Sorts the next equation in."""
        reads = [v for v in equation.invars if not isinstance(v, Literal)]
        group = max((self.of[v] for v in reads), default=Group.ONCE)
        # Ahead of the loop the values of all T steps lie in memory at once.
        if group == Group.AHEAD and not (self._hoist and _worth_hoisting(equation)):
            group = Group.STEP
        # An effect happens as often as the cell runs, and in the order of its steps.
        if equation.effects:
            group = Group.STEP
        self.equations[group].append(equation)
        self.of.update(dict.fromkeys(equation.outvars, group))
        if any(v in self.from_carry for v in reads):
            self.from_carry.update(equation.outvars)

    def variables(self, group: Group) -> list[Var]:
        """The variables of a group, in order."""
        return [v for v, g in self.of.items() if g == group]

    def meet_carry(self, params: Sequence[Var]) -> tuple[bool, ...]:
        """Which parameters reach a product with something that the carry changes."""
        met: set[Any] = set()
        for e in self.equations[Group.STEP]:
            reads = {v for v in e.invars if not isinstance(v, Literal)}
            if e.primitive.name in known_values.PRODUCTS and reads & self.from_carry:
                met |= {v for v in reads if self.of[v] == Group.ONCE}
        # What meets it may be a function of parameters, such as W + Wᵀ: back to those.
        for e in reversed(self.equations[Group.ONCE]):
            if any(v in met for v in e.outvars):
                met |= {v for v in e.invars if not isinstance(v, Literal)}
        return tuple(v in met for v in params)


def _worth_hoisting(equation: JaxprEqn) -> bool:
    """Whether doing this for all time steps at once saves more than its values cost.

    A product over an axis of n reads its weights once instead of every step, and does
    2n operations for each value that it writes to memory and the loop reads back. Below
    some n the way through memory takes longer than they do. Anything else may leave the
    loop if it makes no more values than it reads.
    """
    shapes: list[Any] = [v.aval for v in equation.invars]
    results: list[Any] = [v.aval for v in equation.outvars]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        length = math.prod(shapes[0].shape[i] for i in contracted)
        return length >= _LONG_CONTRACTION
    if equation.primitive.name == "conv_general_dilated":
        return True
    return sum(r.size for r in results) <= max(s.size for s in shapes)
