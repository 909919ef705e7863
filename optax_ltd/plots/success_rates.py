"""How often training succeeds, against length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from optax_ltd.plots._panels import (
    check_panels,
    looks_of,
    name_methods,
    new_panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Between methods of one length, so that none hides another: as a share of the span of
# lengths, and at most so much of the least gap for all of them together.
_SHIFT, _LEAST_GAP = 0.032, 0.75


class Rate(NamedTuple):
    """How often training succeeded.

    Attributes:
      length: Of the sequences.
      share: Of the runs that succeeded.
      lower: End of its confidence interval.
      upper: Its other end.
    """

    length: float
    share: float
    lower: float
    upper: float


def success_rates(
    panels: Mapping[str, Mapping[str, Sequence[Rate]]],
    *,
    label: str = "runs that succeeded, %",
) -> Figure:
    """Draws the share of successful runs against length, a panel each setting.

    A mark is a share, the bar through it its confidence interval. Methods stand side by
    side around the length that they share.

    Args:
      panels: By the setting's name, and therein by the method's: the rates, in
        ascending order of length.
      label: What the shares are of, with their unit.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no panel, or one without methods.

    Examples:
      >>> import optax_ltd as ltd
      >>> Rate = ltd.plots.Rate
      >>> rates = [Rate(20, 1.0, 0.48, 1.0), Rate(50, 0.2, 0.01, 0.72)]
      >>> figure = ltd.plots.success_rates({"basic tanh": {"SGD + clip": rates}})
      >>> figure.axes[0].get_xlabel()
      'length'
    """
    check_panels(panels)
    looks = looks_of(panels)
    lengths = sorted(
        {
            length
            for methods in panels.values()
            for rates in methods.values()
            for length, *_ in rates
        }
    )
    figure, every = new_panels(panels, x_label="length", y_label=label)
    for axes, methods in zip(every, panels.values(), strict=True):
        _draw(axes, methods, looks, lengths)
    name_methods(figure, looks)
    return figure


def _draw(
    axes: Axes,
    methods: Mapping[str, Sequence[Rate]],
    looks: Mapping[str, tuple[str, str]],
    lengths: Sequence[float],
) -> None:
    """Marks and bars of one panel, those of a length side by side around it."""
    shift = _shift(lengths, len(methods))
    for index, (method, rates) in enumerate(methods.items()):
        color, marker = looks[method]
        at, shares, lower, upper = (
            np.asarray(column, float) for column in zip(*rates, strict=True)
        )
        at += shift * (index - (len(methods) - 1) / 2)
        # Lines lie below the marks of all methods.
        axes.plot(at, 100 * shares, color=color, linewidth=1.2, zorder=1.5)
        axes.errorbar(
            at,
            100 * shares,
            [100 * (shares - lower), 100 * (upper - shares)],
            color=color,
            fmt=marker,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            ecolor=(color, 0.5),
            elinewidth=0.8,
            label=method,
            clip_on=False,
        )
    axes.set_xticks(lengths)
    axes.margins(x=0.08)
    axes.set_ylim(-4, 104)


def _shift(lengths: Sequence[float], methods: int) -> float:
    """The distance between methods of one length."""
    if len(lengths) == 1:
        return _SHIFT * lengths[0]
    gap = _LEAST_GAP * float(np.diff(lengths).min()) / methods
    return min(_SHIFT * (lengths[-1] - lengths[0]), gap)
