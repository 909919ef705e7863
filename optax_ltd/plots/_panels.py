"""Panels side by side that share axes, and one legend for all."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from optax_ltd._numerics.checks import refusal
from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 2.8, 3.0
_COLUMNS = 4
_MARKERS = "os^DvPX"  # one fewer than there are colours, so that pairs repeat late


def check_panels(panels: Mapping[str, Mapping[str, Any]]) -> None:
    """Requires a panel, and a method in each.

    Raises:
      ValueError: if there is none.
    """
    if not panels or not all(panels.values()):
        required = "at least one setting, each with at least one method"
        given = {name: list(methods) for name, methods in panels.items()}
        raise refusal("panels", required, given)


def looks_of(panels: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each method, in the order in which they come."""
    names = dict.fromkeys(name for methods in panels.values() for name in methods)
    looks = zip(_style.colors(), itertools.cycle(_MARKERS), strict=False)
    return dict(zip(names, looks, strict=False))


def new_panels(
    titles: Collection[str], *, x_label: str, y_label: str
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, in rows of at most four."""
    rows = -(-len(titles) // _COLUMNS)
    columns = min(len(titles), _COLUMNS)
    figure = _style.new_figure(_WIDTH * columns + 1, _HEIGHT * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, title in zip(grid.flat, titles, strict=False):
        axes.set_title(title)
        axes.set_xlabel(x_label)
        _style.strip(axes, y_axis="left")
        axes.tick_params(labelbottom=True)  # the panel below may be missing
        axes.grid(axis="y", color=_style.FAINT, linewidth=0.5, alpha=0.5)
        axes.set_axisbelow(True)
    for axes in grid[:, 1:].flat:
        axes.tick_params(labelleft=False)
    for axes in grid[:, 0]:
        axes.set_ylabel(y_label)
    for axes in grid.flat[len(titles) :]:
        axes.remove()
    return figure, [*grid.flat[: len(titles)]]


def name_methods(figure: Figure, names: Collection[str]) -> None:
    """One legend below all panels, in the order of the names."""
    handles = {
        name: handle
        for axes in figure.axes
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [handles[name] for name in names],
        list(names),
        loc="outside lower center",
        ncols=min(len(figure.axes), _COLUMNS) + 1,
        frameon=False,
    )
