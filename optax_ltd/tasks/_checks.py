"""Checks of what a caller gave."""

from typing import Any, TypeAlias

import numpy as np

Length: TypeAlias = int | tuple[int, int]


def check_count(name: str, value: Any, *, at_least: int) -> int:
    """Requires an int of some size, and returns it.

    Args:
      name: The argument's name, for the message.
      value: What the caller gave.
      at_least: The smallest int allowed.

    Raises:
      ValueError: If the argument is anything else.
    """
    if not _is_count(value, at_least):
        raise ValueError(f"`{name}` must be an int >= {at_least}; got {_told(value)}.")
    return int(value)


def check_length(value: Any, *, at_least: int) -> tuple[int, int]:
    """Requires a length, or a shortest and a longest one; returns these two.

    Args:
      value: What the caller gave.
      at_least: The smallest length allowed.

    Raises:
      ValueError: If the argument is anything else.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    counts = len(pair) == 2 and all(_is_count(x, at_least) for x in pair)
    if not counts or pair[0] > pair[1]:
        raise ValueError(
            f"`length` must be an int >= {at_least}, or the shortest and the longest "
            f"of such lengths; got {_told(value)}."
        )
    return int(pair[0]), int(pair[1])


def _is_count(value: Any, at_least: int) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return bool(whole and value >= at_least)


def _told(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"
