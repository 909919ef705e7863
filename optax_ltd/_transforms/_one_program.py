"""Runs the body of an update as one compiled program where no trace is under way."""

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

_Result = TypeVar("_Result")


def in_one_program(
    function: Callable[..., _Result], *trees: Any, **hyperparameters: Any
) -> _Result:
    """Calls a function; outside of any trace as one program, compiled once.

    Operation by operation, an update is some two hundred programs. Under a trace it is
    a part of what is traced, as if this were not here.

    Args:
      function: one of a module, as it is what the program is kept by: a function made
        anew in each factory, as under `optax.inject_hyperparams`, would be compiled
        anew.
      *trees: what it takes by position. A leaf that is not an array, or that `jit`
        would hand back as something else, leaves all to be done one by one.
      **hyperparameters: what it takes by name. Numbers are arguments of the program,
        so that it serves all their values; anything else is a part of it.

    Returns:
      What the function returns.
    """
    numbers = {k: v for k, v in hyperparameters.items() if _is_argument(v)}
    leaves, structure = jax.tree.flatten(trees)
    traced = any(isinstance(number, jax.core.Tracer) for number in numbers.values())
    if traced or not _is_hashable(structure) or not all(map(_is_settled, leaves)):
        return function(*trees, **hyperparameters)
    choices = tuple(item for item in hyperparameters.items() if item[0] not in numbers)
    return _compiled(function, choices, numbers, *trees)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compiled(
    function: Callable[..., Any],
    choices: tuple[tuple[str, Hashable], ...],
    numbers: dict[str, Any],
    *trees: Any,
) -> Any:
    return function(*trees, **dict(choices), **numbers)


def _is_argument(value: Any) -> bool:
    """Whether this is a number that reaches a program as it is.

    A float becomes a float32 there, and one beyond that range Inf.
    """
    if isinstance(value, float):
        return value <= float(jnp.finfo(jnp.float32).max) or math.isinf(value)
    return isinstance(value, jax.Array)


def _is_settled(leaf: Any) -> bool:
    """Whether this is an array with values, of a dtype that `jit` keeps.

    NumPy's 64 bits become 32 there, and a float0 a bool.
    """
    if isinstance(leaf, np.ndarray):
        kept = jax.dtypes.canonicalize_dtype(leaf.dtype)
        return bool(kept == leaf.dtype != jax.dtypes.float0)
    return isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)


def _is_hashable(structure: Any) -> bool:
    # A node may hold what has no hash, and then cannot pass through `jit`.
    try:
        hash(structure)
    except TypeError:
        return False
    return True
