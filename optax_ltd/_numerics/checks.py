"""Checks of a factory's arguments.

Python numbers are judged when the factory is called. Arrays may be traced (as
under `optax.inject_hyperparams`), so only their shape and dtype are.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_Error = TypeVar("_Error", bound=Exception)


def check_nonnegative(
    name: str, value: Any, *, finite: bool = False, at_most: float = math.inf
) -> jax.Array | float:
    """Requires a real number of at least 0, or a scalar array.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      finite: whether Inf is refused as well.
      at_most: the largest number allowed.

    Returns:
      The array as it is, or the number as a float.

    Raises:
      ValueError: the argument is anything else.
    """
    required = "a finite number >= 0" if finite else "a number >= 0"
    if at_most < math.inf:
        required = f"a number from 0 to {at_most:g}"
    if callable(value):
        raise ValueError(
            f"`{name}` must be {required}; got the callable {value!r}. For a schedule, "
            "wrap the factory in `optax.inject_hyperparams`."
        )
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        _check_scalar(name, value, required)
        if isinstance(value, jax.Array):
            return value  # It may be traced, so its value is never judged.
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal(name, required, value)
    number = float(value)
    if not 0 <= number <= at_most or (finite and math.isinf(number)):
        raise refusal(name, required, value)
    return number


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Requires one of a few strings.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      choices: the strings allowed.

    Raises:
      ValueError: the argument is anything else.
    """
    if not isinstance(value, str) or value not in choices:
        required = "one of " + ", ".join(repr(choice) for choice in choices)
        raise refusal(name, required, value)


def check_count(name: str, value: Any, *, at_least: int) -> int:
    """Requires an int of some size.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      at_least: the smallest int allowed.

    Returns:
      The int.

    Raises:
      ValueError: the argument is anything else.
    """
    if isinstance(value, jax.Array):
        required = f"an int >= {at_least}, no array"
        hint = "Under `optax.inject_hyperparams`, name it in `static_args`."
        raise ValueError(f"{refusal(name, required, value)} {hint}")
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < at_least:
        raise refusal(name, f"an int >= {at_least}", value)
    return int(value)


def refusal(
    name: str, required: str, value: Any, *, error: type[_Error] = ValueError
) -> _Error:
    """The error for an argument, naming it, what is required and what came.

    Args:
      name: the argument's name.
      required: what it must be.
      value: what the caller gave.
      error: the kind of error.

    Returns:
      The error, to be raised.
    """
    if isinstance(value, jax.Array | np.ndarray):
        came = f"an array of shape {value.shape} and dtype {value.dtype}"
    else:
        came = f"{value!r} ({type(value).__name__})"
    return error(f"`{name}` must be {required}; got {came}.")


def _check_scalar(name: str, value: Any, required: str) -> None:
    real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(
        value.dtype, jnp.integer
    )
    if value.shape != () or not real:
        raise refusal(name, required, value)
