"""The loops of a compiled program, by how often they turn."""

import re

_LOOP = re.compile(r"^.*\bwhile\(.*$", re.MULTILINE)
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def trip_counts(program: str) -> list[int | None]:
    """Trip counts of all loops, the longest first.

    Args:
      program: optimised HLO, as ``compiled.as_text()`` gives it.

    Returns:
      One entry a `while`: how often it turns, or None where XLA does not know.
    """
    found = [_TURNS.search(line) for line in _LOOP.findall(program)]
    counts = [int(turns[1]) if turns else None for turns in found]
    return sorted(counts, key=lambda n: -1 if n is None else -n)
