"""Evaluating the equations of a traced step, for one time step or for all at once.

Given the carry before each step, no step depends on another, so that an equation at all
steps at once is that equation under ``jax.vmap`` over time: T small products become one
large one.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Literal, Var

from optax_ltd._numerics.dtypes import is_inexact
from optax_ltd._numerics.leaves import Leaves, combine, partition
from optax_ltd._recurrent.cell import known_values
from optax_ltd._recurrent.cell.aliases import inner_jaxprs, origins
from optax_ltd._recurrent.cell.held_slopes import held_slopes

_JIT_NAMES = ("jit", "pjit")


def evaluate(
    equations: Sequence[JaxprEqn],
    environment: Mapping[Any, Any],
    outputs: Sequence[Any],
    known: Mapping[Var, Any] | None = None,
) -> Leaves:
    """Runs equations in order, at one time step.

    Args:
      equations: of one flat jaxpr.
      environment: the value of every variable that they read and do not write.
      outputs: the variables and literals wanted.
      known: the values that are known of variables that costly equations write.

    Returns:
      The values of ``outputs``.
    """
    return _evaluate(equations, environment, outputs, known or {}, set())


def evaluate_over_time(
    equations: Sequence[JaxprEqn],
    environment: Mapping[Any, Any],
    outputs: Sequence[Any],
    over_time: Collection[Any],
    known: Mapping[Var, Any] | None = None,
    held: Collection[Any] = (),
) -> Leaves:
    """As :func:`evaluate`, for all time steps at once.

    Args:
      equations: as in :func:`evaluate`.
      environment: as in :func:`evaluate`.
      outputs: as in :func:`evaluate`.
      over_time: the variables whose values have a leading time axis.
      known: as in :func:`evaluate`, with a leading time axis.
      held: variables that derivatives of equations do not follow, nor what is computed
        of them, though values do; see :func:`held_slopes`.

    Returns:
      The values of ``outputs``, each with a leading time axis.
    """
    timed = set(over_time)
    length = next(environment[v].shape[0] for v in over_time)
    values = _evaluate(equations, environment, outputs, known or {}, timed, held)
    return [
        value
        if not isinstance(v, Literal) and v in timed
        else jnp.broadcast_to(value, (length, *value.shape))
        for v, value in zip(outputs, values, strict=True)
    ]


def _evaluate(
    equations: Sequence[JaxprEqn],
    environment: Mapping[Any, Any],
    outputs: Sequence[Any],
    known: Mapping[Var, Any],
    timed: set[Any],
    held: Collection[Any] = (),
) -> Leaves:
    values, still = dict(environment), set(held)
    for equation in equations:
        args = [_read(values, v) for v in equation.invars]
        flags = _among(timed, equation.invars)
        given = [known[v] for v in equation.outvars if v in known]

        run = partial(_at, equation, flags, len(given))
        holds = _among(still, equation.invars)
        if any(holds):
            _check_open(equation, holds)
            run = held_slopes(run, (*(False for _ in given), *holds))
        outs = run(*given, *args)
        values.update(zip(equation.outvars, outs, strict=True))
        for marked, flagged in ((timed, flags), (still, holds)):
            if any(flagged):
                marked.update(equation.outvars)
    return [jnp.asarray(_read(values, v)) for v in outputs]


def _among(variables: Collection[Any], atoms: Sequence[Any]) -> tuple[bool, ...]:
    return tuple(not isinstance(a, Literal) and a in variables for a in atoms)


def _check_open(equation: JaxprEqn, holds: tuple[bool, ...]) -> None:
    """Refuses an equation whose inner slopes would move with what is not held."""
    _, free = partition(holds, equation.invars)
    moves = [v for v in free if not isinstance(v, Literal) and is_inexact(v.aval)]
    name = equation.primitive.name
    # What these hold is the word for how they combine their operands.
    closed = inner_jaxprs(equation) and not name.startswith(("scatter", "reduce"))
    if has_custom_vjp(equation) or (moves and closed):
        raise NotImplementedError(
            f"flow_slopes='held' cannot hold the slopes inside of {name!r}, which the "
            "cell applies to the carry together with parameters, inputs or constants; "
            "use flow_slopes='moving'."
        )


def _at(
    equation: JaxprEqn, over_time: tuple[bool, ...], num_known: int, *operands: Any
) -> Leaves:
    """What an equation writes; its value may be known and come before its operands."""
    known, args = operands[:num_known], operands[num_known:]
    if not known:
        return _apply(equation, args, over_time)
    again = lambda *args: _apply(equation, args, over_time)[0]
    return [known_values.known(equation.primitive.name, again, args, *known)]


def run_inlined(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> Leaves:
    """Evaluates a jaxpr with every inner jit opened, and one name for one value.

    Traced again it is flat: equations within a jit fall into groups of their own, and
    an output that is a carry is that carry's variable, also behind a checkpoint.
    """
    inputs = [*jaxpr.constvars, *jaxpr.invars]
    values: dict[Any, Any] = dict(zip(inputs, [*consts, *args], strict=True))
    for equation in jaxpr.eqns:
        operands = [_read(values, v) for v in equation.invars]
        if equation.primitive.name in _JIT_NAMES:
            inner = equation.params["jaxpr"]
            outs = run_inlined(inner.jaxpr, inner.consts, operands)
        else:
            outs = _bind(equation, operands)
        values.update(zip(equation.outvars, outs, strict=True))
        same = [values[v] for v in origins(equation)]
        values.update(zip(equation.outvars, same, strict=True))
    return [_read(values, v) for v in jaxpr.outvars]


def has_custom_vjp(equation: JaxprEqn) -> bool:
    """Whether this is a ``jax.custom_vjp`` or holds one."""
    if equation.primitive.name.startswith("custom_vjp_call"):
        return True
    return any(
        has_custom_vjp(e) for inner in inner_jaxprs(equation) for e in inner.eqns
    )


def _read(values: Mapping[Any, Any], atom: Any) -> Any:
    return atom.val if isinstance(atom, Literal) else values[atom]


def _bind(equation: JaxprEqn, args: Sequence[Any]) -> Leaves:
    primitive = equation.primitive
    with equation.ctx.manager:
        out = primitive.bind(*args, **primitive.get_bind_params(equation.params))
    return list(out) if primitive.multiple_results else [out]


def _apply(
    equation: JaxprEqn, args: Sequence[Any], over_time: tuple[bool, ...]
) -> Leaves:
    """The equation at operands of which some have a leading time axis."""
    if not any(over_time):
        return _bind(equation, args)
    if _multiplies_rows(equation, over_time) and jax.default_backend() == "cpu":
        return [_product_of_rows(equation, *args)]
    if _draws(equation, args, over_time):
        return _one_by_one(equation, args, over_time)
    axes = tuple(0 if timed else None for timed in over_time)
    return jax.vmap(lambda *args: _bind(equation, args), in_axes=axes)(*args)


def _draws(
    equation: JaxprEqn, args: Sequence[Any], over_time: tuple[bool, ...]
) -> bool:
    """Whether this reads keys that draw other numbers together than one by one.

    Under ``vmap`` each threefry key draws what it would draw alone. Keys of XLA's own
    generators (``rbg``) do not, and the backward pass would see other noise than the
    forward pass, whose loop takes them one by one.
    """

    def is_own(x: Any) -> bool:
        is_key = jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)
        return is_key and str(jax.random.key_impl(x)) != "threefry2x32"

    timed = [x for x, t in zip(args, over_time, strict=True) if t]
    return equation.primitive.name == "rng_bit_generator" or any(map(is_own, timed))


def _one_by_one(
    equation: JaxprEqn, args: Sequence[Any], over_time: tuple[bool, ...]
) -> Leaves:
    timed, fixed = partition(over_time, args)

    def at_step(timed: Leaves) -> Leaves:
        return _bind(equation, combine(over_time, timed, fixed))

    return jax.lax.map(at_step, timed)


def _multiplies_rows(equation: JaxprEqn, over_time: tuple[bool, ...]) -> bool:
    """Whether this is rows that depend on time times a matrix that does not."""
    if equation.primitive.name != "dot_general" or over_time != (True, False):
        return False
    rows, matrix = (v.aval.ndim for v in equation.invars)  # pyright: ignore
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    return not batch and matrix == 2 and tuple(contracted) == (rows - 1,)


def _product_of_rows(equation: JaxprEqn, rows: jax.Array, matrix: jax.Array) -> Any:
    """One flat product for all time steps.

    XLA's CPU backend differentiates it into one flat product too; with time and batch
    as separate axes the gradient of the matrix takes half as long again.
    """
    (_, contracted), no_batch = equation.params["dimension_numbers"]
    params = {**equation.params, "dimension_numbers": (((1,), contracted), no_batch)}
    flat = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
    out = equation.primitive.bind(flat, matrix, **params)
    return out.reshape(*rows.shape[:-1], out.shape[-1])
