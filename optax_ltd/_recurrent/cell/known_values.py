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
# f' as a function of y = f(a) where that is arithmetic alone: tanh' = 1 - tanh²,
# σ' = σ (1 - σ), exp' = exp. Then f is not computed again, and a is not wanted at all.
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
    """The variables of costly values that the derivatives of all equations read.

    This is the liveness analysis of a compiler, with derivatives as the readers. An
    equation's derivative reads nothing if the equation is linear, its value if that is
    enough, and its operands otherwise. A value that is read and not kept has to be
    computed again, which reads operands in turn; so the walk goes backwards, and meets
    each equation when all readers of its value are known.

    Args:
      equations: of one flat jaxpr, in order.

    Returns:
      The variables to keep the values of. One too few costs time, and no correctness.
    """
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
        # The derivative is of `out`, which moves with the operands, and not of `value`,
        # which does not: the gradient of Ω is a second derivative.
        out = given(value, *args)
        if name in _FROM_VALUE:
            return out, _FROM_VALUE[name](out) * directions[0]
        # A product is linear in each operand: d(a · b) = da · b + a · db, both by the
        # primitive itself, and without the term of an operand that does not move.
        left, right = args
        terms = [
            function(*operands)
            for operands in ((directions[0], right), (left, directions[1]))
            if not any(isinstance(o, SymbolicZero) for o in operands)
        ]
        return out, sum(terms[1:], terms[0])

    # How the value moves with the operands is what the rule says, and it alone.
    return given(jax.lax.stop_gradient(value), *args)
