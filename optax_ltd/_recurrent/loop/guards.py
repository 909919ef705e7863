"""Identities that say why a derivative through Ω does not exist."""

from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from optax_ltd._numerics.dtypes import is_inexact

_WHY = (
    "Ω holds the error signals constant and is added in the backward pass only "
    "(Pascanu et al. 2013, section 3.3), so {what} of a recurrent layer is not defined "
    "while Ω is on. Set flow_weight=0 (with no carry_clip and no flow statistics) to "
    "use {use}."
)


def _raise_on_forward_mode(*_: Any, **__: Any) -> Any:
    raise NotImplementedError(
        _WHY.format(
            what="a forward-mode derivative",
            use="jax.jvp, jax.linearize or jax.hessian",
        )
    )


# The identity, and the tangent of it: a tangent that reverse mode transposes away, and
# that forward mode has to evaluate.
_reverse_only_p = Primitive("reverse_only")
_reverse_only_p.def_impl(lambda x: x)
_reverse_only_p.def_abstract_eval(lambda x: x)
_tangent_p = Primitive("reverse_only_tangent")
_tangent_p.def_impl(_raise_on_forward_mode)
_tangent_p.def_abstract_eval(lambda t: t)

batching.defvectorized(_reverse_only_p)
# A tangent is mapped only in forward mode, as in jax.jacfwd.
batching.primitive_batchers[_tangent_p] = _raise_on_forward_mode
mlir.register_lowering(_reverse_only_p, lambda ctx, x: [x])
mlir.register_lowering(_tangent_p, _raise_on_forward_mode)
ad.deflinear2(_tangent_p, lambda ct, _: [ct])


def _reverse_only_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x,), (t,) = primals, tangents
    if isinstance(t, ad.Zero):
        return _reverse_only_p.bind(x), t
    return _reverse_only_p.bind(x), _tangent_p.bind(t)


ad.primitive_jvps[_reverse_only_p] = _reverse_only_jvp


def reverse_only(x: jax.Array) -> jax.Array:
    """``x``; forward-mode differentiation through it raises NotImplementedError."""
    return _reverse_only_p.bind(x) if is_inexact(x) else x


def with_all_tangents(x: jax.Array, *same: jax.Array) -> jax.Array:
    """``x``; its tangent is the sum of those of ``x`` and of each in ``same``."""
    return _first(x, *same) if is_inexact(x) else x


@jax.custom_jvp
def _first(x: jax.Array, *same: jax.Array) -> jax.Array:
    del same
    return x


@_first.defjvp
def _sum_of_tangents(primals: Any, tangents: Any) -> tuple[Any, Any]:
    return _first(*primals), sum(tangents[1:], tangents[0])


@jax.custom_jvp
def first_order_only(x: jax.Array) -> jax.Array:
    """``x``; any differentiation of it raises NotImplementedError."""
    return x


@first_order_only.defjvp
def _raise_on_second_order(primals: Any, tangents: Any) -> Any:
    del primals, tangents
    raise NotImplementedError(
        _WHY.format(what="a second derivative", use="second derivatives")
    )
