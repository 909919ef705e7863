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
from jax.extend.core import JaxprEqn, Literal, Var

PRODUCTS = ("dot_general", "conv_general_dilated")
# Derivative of a unary function in terms of its own value.
_FROM_VALUE: dict[str, Callable[[Any], Any]] = {
    "tanh": lambda y: 1 - y * y,
    "logistic": lambda y: y * (1 - y),
    "exp": lambda y: y,
}
# Functions whose derivatives do not depend on their operands' values.
_LINEAR = (
    *("add", "sub", "neg", "add_any", "copy", "convert_element_type", "reduce_sum"),
    *("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose", "rev"),
    *("slice", "split", "concatenate", "pad"),
)


def worth_keeping(equations: Sequence[JaxprEqn]) -> tuple[Var, ...]:
    """The variables whose values the derivatives of all of them need and are costly."""
    needed: set[Any] = set()
    for equation in reversed(equations):
        name = equation.primitive.name
        if name in _FROM_VALUE:
            needed.update(equation.outvars)
        elif name not in _LINEAR or any(v in needed for v in equation.outvars):
            needed.update(v for v in equation.invars if not isinstance(v, Literal))
    costly = [e for e in equations if e.primitive.name in (*PRODUCTS, *_FROM_VALUE)]
    return tuple(v for e in costly for v in e.outvars if v in needed)


def known(
    name: str, function: Callable[..., Any], args: Sequence[Any], value: Any
) -> Any:
    """The value of a costly primitive at ``args``, given; differentiable in ``args``.

    Args:
      name: of the primitive, a product or one with a derivative in its own value.
      function: the primitive as a function of ``args``.
      args: its operands.
      value: what it gives at those operands.

    Returns:
      ``value``, with the primitive's own derivatives.
    """

    @jax.custom_jvp
    def given(value: Any, *args: Any) -> Any:
        del args
        return value

    @functools.partial(given.defjvp, symbolic_zeros=True)
    def given_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
        value, *args = primals
        _, *directions = tangents
        out = given(value, *args)
        if name in _FROM_VALUE:
            return out, _FROM_VALUE[name](out) * directions[0]
        left, right = args
        terms = [
            function(*operands)
            for operands in ((directions[0], right), (left, directions[1]))
            if not any(isinstance(o, SymbolicZero) for o in operands)
        ]
        return out, sum(terms[1:], terms[0])

    return given(jax.lax.stop_gradient(value), *args)
