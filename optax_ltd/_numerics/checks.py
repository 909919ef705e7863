"""Checks of arguments, and the one form of their messages.

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


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    finite: bool = True,
) -> jax.Array | float:
    """Requires a real number in an interval, or a scalar array.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      above: a number that it exceeds.
      at_least: the smallest number allowed.
      below: a number that it falls short of.
      at_most: the largest number allowed.
      finite: whether Inf is refused.

    Returns:
      The JAX array as it is, or the number as a float.

    Raises:
      ValueError: the argument is anything else.
    """
    required = _number(above, at_least, below, at_most, finite)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        _check_scalar(name, value, required)
        if isinstance(value, jax.Array):
            return value  # It may be traced, so its value is never judged.
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal(name, required, value)
    try:
        number = float(value)
    except OverflowError:  # an int beyond all floats
        raise refusal(name, required, value) from None
    inside = (
        (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (below is None or number < below)
        and (at_most is None or number <= at_most)
    )
    if not inside or math.isnan(number) or (finite and math.isinf(number)):
        raise refusal(name, required, value)
    return number


def check_nonnegative(
    name: str, value: Any, *, finite: bool = True, at_most: float | None = None
) -> jax.Array | float:
    """Requires a hyperparameter of at least 0, as `check_number` does.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      finite: whether Inf is refused.
      at_most: the largest number allowed.

    Returns:
      The JAX array as it is, or the number as a float.

    Raises:
      ValueError: the argument is anything else. If it is a schedule, the message
        says how to use one.
    """
    if callable(value):
        required = _number(None, 0, None, at_most, finite)
        hint = "For a schedule, wrap the factory in `optax.inject_hyperparams`."
        raise ValueError(f"{refusal(name, required, value)} {hint}")
    return check_number(name, value, at_least=0, at_most=at_most, finite=finite)


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


def check_bool(name: str, value: Any) -> bool:
    """Requires True or False.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.

    Returns:
      The boolean.

    Raises:
      ValueError: the argument is anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise refusal(name, "True or False", value)
    return bool(value)


def check_count(
    name: str, value: Any, *, at_least: int, at_most: int | None = None
) -> int:
    """Requires an int of some size.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      at_least: the smallest int allowed.
      at_most: the largest int allowed.

    Returns:
      The int.

    Raises:
      ValueError: the argument is anything else.
    """
    size = f">= {at_least}" if at_most is None else f"from {at_least} to {at_most}"
    if not is_count(value, at_least) or (at_most is not None and value > at_most):
        raise refusal(name, f"an int {size}", value)
    return int(value)


def check_static_count(name: str, value: Any, *, at_least: int) -> int:
    """Requires a hyperparameter that is such an int, and fixes shapes.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      at_least: the smallest int allowed.

    Returns:
      The int.

    Raises:
      ValueError: the argument is anything else. If it is an array, the message says
        how to keep it an int.
    """
    if isinstance(value, jax.Array):
        required = f"an int >= {at_least}, no array"
        hint = "Under `optax.inject_hyperparams`, name it in `static_args`."
        raise ValueError(f"{refusal(name, required, value)} {hint}")
    return check_count(name, value, at_least=at_least)


def is_count(value: Any, at_least: int) -> bool:
    """Whether this is an int, of Python or NumPy, of at least some size."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return bool(whole and value >= at_least)


def is_number(value: Any) -> bool:
    """Whether this is a real number of Python or NumPy, and no array."""
    real = isinstance(value, int | float | np.integer | np.floating)
    return real and not isinstance(value, bool)


def check_time_axis(name: str, tree: Any) -> int:
    """Requires a tree with a leaf, and one time axis in front of all leaves.

    Args:
      name: the argument's name, for the message.
      tree: what the caller gave.

    Returns:
      The number of time steps.

    Raises:
      ValueError: the leaves are none, or of several lengths.
    """
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            f"`{name}` must have a leaf, and the same time axis in front of each; "
            f"got leading axes {sorted(lengths)}."
        )
    ((length,),) = lengths
    return length


def check_length(inputs: Any, length: Any) -> int:
    """Requires inputs over time, or a length where there are none.

    Args:
      inputs: tree of ``[T, ...]``, perhaps without a leaf.
      length: T or None, the argument `length`.

    Returns:
      The number of time steps.

    Raises:
      ValueError: there is neither, or they differ.
    """
    if not jax.tree.leaves(inputs):
        if not is_count(length, 0):
            required = "an int >= 0 where `inputs` has no leaf"
            raise refusal("length", required, length)
        return length
    steps = check_time_axis("inputs", inputs)
    if length is not None and length != steps:
        raise refusal("length", f"None or that of `inputs`, {steps}", length)
    return steps


def as_array(name: str, value: Any) -> jax.Array:
    """An array of what the caller gave, such as one of NumPy or nested lists.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.

    Returns:
      The array.

    Raises:
      ValueError: there is none of it.
    """
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise refusal(name, "an array, or nested lists of one shape", value) from error


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


def _number(
    above: float | None,
    at_least: float | None,
    below: float | None,
    at_most: float | None,
    finite: bool,
) -> str:
    """The words for a number in an interval; one with two ends is finite anyway."""
    if at_least is not None and at_most is not None:
        return f"a number from {at_least:g} to {at_most:g}"
    bounds = {">": above, ">=": at_least, "<": below, "<=": at_most}
    told = [f"{sign} {end:g}" for sign, end in bounds.items() if end is not None]
    kind = "a finite number" if finite and len(told) < 2 else "a number"
    return f"{kind} {' and '.join(told)}".rstrip()


def _check_scalar(name: str, value: Any, required: str) -> None:
    real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(
        value.dtype, jnp.integer
    )
    if value.shape != () or not real:
        raise refusal(name, required, value)
