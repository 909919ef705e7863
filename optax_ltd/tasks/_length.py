"""What a task may be told of the length of its sequences."""

from typing import Any, TypeAlias

from optax_ltd._numerics.checks import is_count, refusal

Length: TypeAlias = int | tuple[int, int]


def check_length(value: Any, *, at_least: int) -> tuple[int, int]:
    """Requires a length, or a shortest and a longest one; returns these two.

    Args:
      value: What the caller gave.
      at_least: The smallest length allowed.

    Raises:
      ValueError: If the argument is anything else.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    counts = len(pair) == 2 and all(is_count(x, at_least) for x in pair)
    if not counts or pair[0] > pair[1]:
        required = f"an int >= {at_least}, or the shortest and the longest of such"
        raise refusal("length", f"{required} lengths", value)
    return int(pair[0]), int(pair[1])
