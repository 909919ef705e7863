"""Which variables of a traced program are the very same value under other names.

Tracing sees that ``y`` *is* ``h`` where a cell returns one array twice. A call hides
it: an equation that runs a jaxpr of its own writes a new variable for each output, also
where that jaxpr returns one value twice, or an operand as it came.
"""

from collections.abc import Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

# Values and derivatives of their outputs are those of the jaxpr within. No loop is
# among them: what one hands on unchanged, JAX itself leaves out of it.
_CALLS = ("jit", "pjit", "checkpoint", "remat2", "cond")
# Of these only the values are.
_CUSTOM = ("custom_jvp_call", "custom_vjp_call")


def returned(jaxpr: Jaxpr, *, values_only: bool = False) -> list[Any]:
    """What a jaxpr returns, by one name where it is the very same value.

    Args:
      jaxpr: of a traced function.
      values_only: whether to see through functions with derivatives of their own too,
        where the same value may have another derivative.

    Returns:
      For each output the input that it is, or else the first variable of that value.
    """
    names: dict[Any, Any] = {}
    for equation in jaxpr.eqns:
        origin = origins(equation, values_only=values_only)
        for variable, other in zip(equation.outvars, origin, strict=True):
            names[variable] = names.get(other, other)
    return [v if isinstance(v, Literal) else names.get(v, v) for v in jaxpr.outvars]


def origins(equation: JaxprEqn, *, values_only: bool = False) -> list[Any]:
    """For each output of an equation the variable that it is.

    Args:
      equation: of a jaxpr.
      values_only: as in :func:`returned`.

    Returns:
      For each output the operand that it is, or else the first output of that value,
      which may be itself.
    """
    calls = (*_CALLS, *_CUSTOM) if values_only else _CALLS
    if equation.primitive.name not in calls:
        return list(equation.outvars)
    bodies = inner_jaxprs(equation)
    results = []
    for body in bodies:
        # Before the operands of a branch stands the number of the one to take.
        operands = equation.invars[len(equation.invars) - len(body.invars) :]
        outer = dict(zip(body.invars, operands, strict=True))
        inner = returned(body, values_only=values_only)
        results.append(
            [v if isinstance(v, Literal) else outer.get(v, v) for v in inner]
        )
    # Two outputs are the same if they are in each branch. Literals have no hash, hence
    # the ids; the equation keeps alive whatever they are of.
    first: dict[tuple[int, ...], Any] = {
        (id(v),) * len(bodies): v for v in equation.invars if not isinstance(v, Literal)
    }
    return [
        first.setdefault(tuple(map(id, atoms)), output)
        for output, *atoms in zip(equation.outvars, *results, strict=True)
    ]


def index_of(atom: Any, atoms: Sequence[Any]) -> int | None:
    """Which one of some variables this one is, or None."""
    return next((i for i, other in enumerate(atoms) if other is atom), None)


def inner_jaxprs(equation: JaxprEqn) -> list[Jaxpr]:
    """The jaxprs that an equation runs."""
    values = equation.params.values()
    parts = [p for v in values for p in (v if isinstance(v, tuple) else (v,))]
    closed = [p.jaxpr if isinstance(p, ClosedJaxpr) else p for p in parts]
    return [p for p in closed if isinstance(p, Jaxpr)]
