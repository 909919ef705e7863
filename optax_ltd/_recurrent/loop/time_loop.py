"""The loop over time, with as many steps in a turn as its platform wants."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
from jax.extend.core import JaxprEqn

from optax_ltd._numerics.platforms import unless_on_gpu
from optax_ltd._recurrent.cell.aliases import inner_jaxprs
from optax_ltd._recurrent.cell.program import CellProgram


def time_loop(
    program: CellProgram,
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    timed: Any,
    length: int,
    unroll: int | None,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """``jax.lax.scan``, where None stands for what suits the platform and the cell.

    Args:
      program: the cell that the body runs or differentiates.
      body: ``(carry, at) -> (carry, out)``.
      carry: the initial carry.
      timed: tree of ``[T, ...]``.
      length: T.
      unroll: the number of steps in a turn, True for all of them, or None.
      reverse: whether to run from the last time step to the first.

    Returns:
      What ``jax.lax.scan`` returns.
    """
    scan = partial(jax.lax.scan, body, length=length, reverse=reverse)
    if unroll is not None:
        return scan(carry, timed, unroll=unroll)
    steps = steps_on_gpu(program, length)
    if steps == 1:
        return scan(carry, timed)
    return unless_on_gpu(scan, partial(scan, unroll=steps), carry, timed)


# On a GPU a turn launches some kernels for its counter and for slices of what is read
# and written, beside at least two for each of its steps. With n steps in a turn all but
# 1/n of the former are saved, so that beyond 16 there is little left to save.
_MOST_STEPS = 16
# What a turn contains has to be compiled: no more than sixteen steps of a tanh cell,
# each of five equations, and some that it brings along.
_MOST_EQUATIONS = 96
# Launches do not wait for kernels. The ten or so of a step, of a microsecond or two
# each, hide behind products of more operations than this.
_MOST_OPERATIONS = 2**30


def steps_on_gpu(program: CellProgram, length: int) -> int:
    """How many steps a turn has on a GPU, for this cell and ``length`` time steps."""
    equations = program.in_loop
    # Under `vmap` the choice by platform may become one by value, for which JAX has no
    # rule where there are effects.
    if not isinstance(length, int) or any(e.effects for e in equations):
        return 1
    if _operations(equations) > _MOST_OPERATIONS:
        return 1
    affordable = _MOST_EQUATIONS // max(1, _count(equations))
    most = max(1, min(_MOST_STEPS, affordable, length))
    # Steps that are left over are compiled once more, behind the loop.
    return min(range(most, most // 2, -1), key=lambda steps: length % steps)


def _count(equations: Sequence[JaxprEqn]) -> int:
    """How many equations these are, with those within them."""
    inner = (jaxpr for e in equations for jaxpr in inner_jaxprs(e))
    return len(equations) + sum(_count(jaxpr.eqns) for jaxpr in inner)


def _operations(equations: Sequence[JaxprEqn]) -> int:
    """Additions and multiplications of the products in these and within them."""
    inner = (jaxpr for e in equations for jaxpr in inner_jaxprs(e))
    return sum(map(_product, equations)) + sum(_operations(j.eqns) for j in inner)


def _product(equation: JaxprEqn) -> int:
    """Additions and multiplications of a product; 0 for anything else.

    A dimension that `jax.export` leaves open counts as 1.
    """
    shapes: list[Any] = [v.aval for v in equation.invars]
    results: list[Any] = [v.aval for v in equation.outvars]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        summed = _known_size(shapes[0].shape[i] for i in contracted)
    elif equation.primitive.name == "conv_general_dilated":
        _, kernel = shapes
        outputs = equation.params["dimension_numbers"].rhs_spec[0]
        summed = _known_size(kernel.shape) // _known_size(
            kernel.shape[outputs : outputs + 1]
        )
    else:
        return 0
    return 2 * summed * _known_size(results[0].shape)


def _known_size(shape: Iterable[Any]) -> int:
    return math.prod(size for size in shape if isinstance(size, int))
