"""How often training succeeds, against length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 3.2, 3.4
_COLUMNS = 4
_SHIFT = 0.012  # between methods, as a share of the lengths, so that bars do not hide


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


def success_rates(panels: Mapping[str, Mapping[str, Sequence[Rate]]]) -> Figure:
    """Draws the share of successful runs against length, a panel each setting.

    A dot is a share, the bar through it its confidence interval.

    Args:
      panels: By the setting's name, and therein by the method's: the rates, in
        ascending order of length.

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
    if not panels or not all(panels.values()):
        raise ValueError(
            "panels must hold at least one setting, each with at least one method; got "
            f"{ {name: list(methods) for name, methods in panels.items()} }"
        )
    rows = -(-len(panels) // _COLUMNS)
    columns = min(len(panels), _COLUMNS)
    figure = _style.new_figure(_WIDTH * columns + 1, _HEIGHT * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    names = dict.fromkeys(name for methods in panels.values() for name in methods)
    colors = dict(zip(names, _style.colors(), strict=False))
    for axes, (setting, methods) in zip(grid.flat, panels.items(), strict=False):
        _draw(axes, methods, colors)
        axes.set_title(setting)
        axes.set_xlabel("length")
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("seeds that solved it,\nat any test, %")
    handles = {
        name: handle
        for axes in figure.axes
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [handles[name] for name in names],
        list(names),
        loc="outside lower center",
        ncols=columns + 1,
        frameon=False,
    )
    return figure


def _draw(
    axes: Axes, methods: Mapping[str, Sequence[Rate]], colors: Mapping[str, str]
) -> None:
    """Dots and bars of one panel, those of a length side by side around it."""
    ticks = sorted({length for rates in methods.values() for length, *_ in rates})
    for index, (method, rates) in enumerate(methods.items()):
        lengths, shares, lower, upper = (
            np.asarray(column, float) for column in zip(*rates, strict=True)
        )
        shift = _SHIFT * max(ticks) * (index - (len(methods) - 1) / 2)
        axes.errorbar(
            lengths + shift,
            100 * shares,
            [100 * (shares - lower), 100 * (upper - shares)],
            color=colors[method],
            marker="o",
            elinewidth=0.8,
            label=method,
        )
    _style.strip(axes, y_axis="left")
    axes.set_xticks(ticks)
    axes.margins(x=0.08)
    axes.set_ylim(-4, 104)
