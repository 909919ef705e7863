"""Joins the two functions of a transformation."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import optax

_State = TypeVar("_State")


def transformation(
    init: Callable[[Any], _State], update: Callable[..., tuple[Any, _State]]
) -> optax.GradientTransformationExtraArgs:
    """Makes a transformation of functions that know the type of their state.

    Optax types a state as nested arrays, which a `NamedTuple` is at run time but
    not for a type checker.

    Args:
      init: takes the parameters, returns the state.
      update: takes updates, state, parameters and any keyword arguments; returns
        updates and state.

    Returns:
      The transformation.
    """
    return optax.GradientTransformationExtraArgs(cast(Any, init), cast(Any, update))
