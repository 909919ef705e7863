"""How a number stands in a table."""

from collections.abc import Mapping

NOTHING = "–"


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def spread(quartiles: Mapping[str, float]) -> str:
    """The median and, in brackets, the quartiles."""
    low, mid, high = (number(quartiles[key]) for key in ("lower", "median", "upper"))
    return f"{mid} ({low} to {high})"


def verdict(reached: bool) -> str:
    """Whether a target was reached; a failure is meant to be seen."""
    return "yes" if reached else "**no**"


def verdict_of(quartiles: Mapping[str, float], limit: float, *, at_least: bool) -> str:
    """Whether the median reached a limit, and whether the quartiles enclose it."""
    middle = quartiles["median"]
    told = verdict(middle >= limit if at_least else middle <= limit)
    enclosed = quartiles["lower"] <= limit <= quartiles["upper"]
    return f"{told}, within the quartiles" if enclosed else told
