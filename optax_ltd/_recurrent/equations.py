"""Evaluating the equations of a traced function, one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Literal

from optax_ltd._recurrent import known_values

_JIT_NAMES = ("jit", "pjit")

Leaves = list[Any]


def evaluate(
    equations: Sequence[JaxprEqn],
    environment: Mapping[Any, Any],
    outputs: Sequence[Any],
    known: Mapping[int, Any] | None = None,
) -> Leaves:
    """Runs equations in order.

    Args:
      equations: of one flat jaxpr.
      environment: the value of every variable that they read and do not write.
      outputs: the variables and literals wanted.
      known: by ``id`` of an equation, the value it is known to give.

    Returns:
      The values of ``outputs``.
    """
    values = dict(environment)
    known = known or {}
    for equation in equations:
        args = [_read(values, v) for v in equation.invars]
        if id(equation) in known:
            outs = [known_values.known(equation, args, known[id(equation)])]
        else:
            outs = _bind(equation, args)
        values.update(zip(equation.outvars, outs, strict=True))
    return [
        jnp.asarray(_read(values, v)) if isinstance(v, Literal) else values[v]
        for v in outputs
    ]


def run_inlined(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> Leaves:
    """Evaluates a jaxpr with every inner jit opened, so that aliases show."""
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
    return [_read(values, v) for v in jaxpr.outvars]


def _read(values: Mapping[Any, Any], atom: Any) -> Any:
    return atom.val if isinstance(atom, Literal) else values[atom]


def _bind(equation: JaxprEqn, args: Sequence[Any]) -> Leaves:
    primitive = equation.primitive
    with equation.ctx.manager:
        out = primitive.bind(*args, **primitive.get_bind_params(equation.params))
    return list(out) if primitive.multiple_results else [out]
