"""Equations whose value is already known but whose derivative is still wanted.

The backward pass needs derivatives of the cell at values that the forward pass has
computed. For the costly primitives (products and transcendental functions) those
values are handed in instead of being computed again.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import JaxprEqn

# Derivative of a unary function in terms of its own value.
_FROM_VALUE: dict[str, Callable[[Any], Any]] = {
    "tanh": lambda y: 1 - y * y,
    "logistic": lambda y: y * (1 - y),
    "exp": lambda y: y,
}
_PRODUCTS = ("dot_general", "conv_general_dilated")


def is_costly(equation: JaxprEqn) -> bool:
    """Whether the value of this equation is worth keeping for the backward pass."""
    return (
        equation.primitive.name in _PRODUCTS or equation.primitive.name in _FROM_VALUE
    )


def known(equation: JaxprEqn, args: Sequence[Any], value: Any) -> Any:
    """The equation's value at ``args``, given; differentiable in ``args``.

    Args:
      equation: one for which :func:`is_costly` holds.
      args: its operands.
      value: what it gives at those operands.

    Returns:
      ``value``, with the equation's own derivatives.
    """
    primitive, params = equation.primitive, equation.params

    @jax.custom_jvp
    def given(value: Any, *args: Any) -> Any:
        del args
        return value

    @functools.partial(given.defjvp, symbolic_zeros=True)
    def given_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
        value, *args = primals
        _, *directions = tangents
        out = given(value, *args)
        if primitive.name in _FROM_VALUE:
            return out, _FROM_VALUE[primitive.name](out) * directions[0]
        left, right = args
        terms = [
            primitive.bind(*operands, **params)
            for operands in ((directions[0], right), (left, directions[1]))
            if not any(isinstance(o, SymbolicZero) for o in operands)
        ]
        return out, sum(terms[1:], terms[0])

    return given(jax.lax.stop_gradient(value), *args)
