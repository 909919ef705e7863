"""Which rows of a parametrised test are left to `make test-slow`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(fast: Collection[Any], rows: Iterable[Any]) -> list[Any]:
    """Marks as slow all rows that are not in `fast`.

    Args:
      fast: rows of which each tells what no other fast test does.
      rows: values, or tuples of them where a test has several parameters.

    Returns:
      The rows for `pytest.mark.parametrize`.
    """
    return [row if row in fast else _slow(row) for row in rows]


def _slow(row: Any) -> Any:
    values = row if isinstance(row, tuple) else (row,)
    return pytest.param(*values, marks=pytest.mark.slow)
