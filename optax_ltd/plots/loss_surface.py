"""The loss over two parameters, and the paths of descents on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_ELEVATION, _AZIMUTH = 30, 75  # degrees
_LEVELS = 20
_GREYS = (0.06, 0.6)  # apart from paper and paths
_WIDTHS = (2.6, 1.1)  # of paths, so that none hides where the first one runs


class _Path(NamedTuple):
    """Points ``[S, 2]`` and losses ``[S]`` of a descent, and how it is drawn."""

    points: np.ndarray
    losses: np.ndarray
    color: str
    width: float


class _Segment(NamedTuple):
    """The part of an update from point to point that lies within the picture."""

    update: int
    ends: np.ndarray  # [2, 2]
    losses: np.ndarray  # [2]
    leaves: bool


def loss_surface(
    x: np.ndarray,
    y: np.ndarray,
    losses: np.ndarray,
    paths: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    names: tuple[str, str] = ("w", "b"),
) -> Figure:
    """Draws the loss over two parameters with the paths that descents took on it.

    On the left as a landscape, on the right as a map, darker where the loss is higher.
    A ring is where a path begins and, on the map, a dot where it ends. Where a path
    first leaves the picture, an arrow tells with which update, and to what point. An
    update is a straight line, in the landscape too: it does not follow the ground.
    The first path is drawn wider than the others, which may run along with it.

    Args:
      x: Values of the first parameter ``[X]``, rising, at least two.
      y: Values of the second parameter ``[Y]``, rising, at least two.
      losses: The loss at each pair ``[Y, X]``.
      paths: By the name of a descent, its points ``[updates + 1, 2]`` and the loss at
        each ``[updates + 1]``.
      names: What the two parameters are called.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If a shape does not fit, or `x` or `y` does not rise.

    Examples:
      >>> import numpy as np
      >>> import optax_ltd as ltd
      >>> x, y = np.linspace(-2, 2, 21), np.linspace(-1, 1, 11)
      >>> losses = x**2 + y[:, None] ** 2
      >>> points = np.array([[1.5, 0.5], [0.75, 0.25], [0.0, 0.0]])
      >>> paths = {"SGD": (points, (points**2).sum(1))}
      >>> figure = ltd.plots.loss_surface(x, y, losses, paths)
      >>> figure.axes[1].get_xlabel()
      'w'

    References:
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013, figure 6.
    """
    x, y, losses = np.asarray(x), np.asarray(y), np.asarray(losses)
    _check_grid("x", x)
    _check_grid("y", y)
    if losses.shape != (len(y), len(x)):
        raise ValueError(
            f"`losses` must be [{len(y)}, {len(x)}], as `y` and `x` are; got shape "
            f"{losses.shape}."
        )
    drawn = {
        name: _Path(*_check_path(name, *path), color, _WIDTHS[min(i, 1)])
        # Grey is the ground's.
        for i, (name, path), color in zip(
            itertools.count(), paths.items(), _style.colors(skip=1), strict=False
        )
    }
    figure = _style.new_figure(9.6, 4.4)
    landscape: Any = figure.add_subplot(1, 2, 1, projection="3d")
    chart = figure.add_subplot(1, 2, 2)
    _draw_landscape(landscape, x, y, losses, drawn)
    _draw_map(chart, x, y, losses, drawn)
    for axes in (landscape, chart):
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
    if drawn:
        figure.legend(
            handles=[chart.lines[i] for i in range(len(drawn))],
            loc="outside lower center",
            ncols=len(drawn),
            frameon=False,
        )
    return figure


def _check_grid(name: str, values: np.ndarray) -> None:
    if values.ndim != 1 or len(values) < 2 or not (np.diff(values) > 0).all():
        raise ValueError(
            f"`{name}` must be [N], rising, of at least two values; got shape "
            f"{values.shape} and {np.array2string(values, threshold=4, edgeitems=2)}."
        )


def _check_path(name: str, points: Any, losses: Any) -> tuple[np.ndarray, np.ndarray]:
    points, losses = np.asarray(points, float), np.asarray(losses, float)
    if points.shape != (losses.size, 2) or losses.ndim != 1 or not losses.size:
        raise ValueError(
            f"`paths[{name!r}]` must be points [updates + 1, 2] and losses "
            f"[updates + 1]; got shapes {points.shape} and {losses.shape}."
        )
    return points, losses


def _greys() -> Colormap:
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    return ListedColormap(mpl.colormaps["Greys"](np.linspace(*_GREYS, 256)))


def _draw_landscape(
    axes: Any, x: np.ndarray, y: np.ndarray, losses: np.ndarray, paths: dict[str, _Path]
) -> None:
    """The surface, seen from the side of large x and y."""
    # Else a path is drawn behind all of the surface or before all of it, by chance.
    axes.computed_zorder = False
    axes.plot_surface(
        *np.meshgrid(x, y),
        losses,
        cmap=_greys(),
        rcount=len(y),
        ccount=len(x),
        linewidth=0,
        antialiased=False,
        shade=False,
    )
    for path in paths.values():
        gap = np.full((1, 3), np.nan)
        pieces = [
            np.concatenate([np.column_stack([s.ends, s.losses]), gap])
            for s in _segments(path, x, y)
        ]
        if pieces:
            axes.plot(*np.concatenate(pieces).T, color=path.color, linewidth=path.width)
            axes.plot(*pieces[0][0], "o", color="black", fillstyle="none", markersize=6)
    axes.view_init(_ELEVATION, _AZIMUTH)
    axes.set_zlabel("loss")
    axes.tick_params(labelsize="small", pad=0)
    axes.locator_params(nbins=5)
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("white")


def _draw_map(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    losses: np.ndarray,
    paths: dict[str, _Path],
) -> None:
    """Levels of the loss, the paths, and where they begin, leave and end."""
    levels = axes.contourf(x, y, losses, _LEVELS, cmap=_greys())
    assert axes.figure is not None
    axes.figure.colorbar(levels, ax=axes, label="loss")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    for name, path in paths.items():
        axes.plot(*path.points.T, color=path.color, linewidth=path.width, label=name)
    for path in paths.values():
        axes.plot(*path.points[-1], "o", color=path.color, markersize=6)
        axes.plot(*path.points[0], "o", color="black", fillstyle="none", markersize=8)
        leaving = (s for s in _segments(path, x, y) if s.leaves)
        if segment := next(leaving, None):
            _mark_leaving(axes, path, segment)


def _mark_leaving(axes: Axes, path: _Path, segment: _Segment) -> None:
    """An arrow to where a path leaves the picture, and where it goes."""
    start, end = segment.ends
    arrow = {"arrowstyle": "-|>", "color": path.color, "shrinkA": 0, "shrinkB": 0}
    arrow |= {"linewidth": path.width, "mutation_scale": 16}
    axes.annotate("", end, start, arrowprops=arrow)
    to = ", ".join(f"{value:.3g}" for value in path.points[segment.update])
    (left, right), middle = axes.get_xlim(), np.mean(axes.get_ylim())
    across = (end[0] - left) / (right - left)
    # Beside the path, where there is room.
    before = across > 0.7 or (across > 0.3 and end[0] < start[0])
    axes.annotate(
        f"update {segment.update:,}\nto ({to})",
        end,
        (-8 if before else 8, -4 if end[1] > middle else 4),
        textcoords="offset points",
        ha="right" if before else "left",
        va="top" if end[1] > middle else "bottom",
        fontsize="small",
        color=path.color,
    )


def _segments(path: _Path, x: np.ndarray, y: np.ndarray) -> Iterator[_Segment]:
    """What of each update lies within the picture, by the method of Liang and Barsky.

    An update from or to a point that is not finite has no part in it.
    """
    low, high = np.array([x[0], y[0]]), np.array([x[-1], y[-1]])
    for update, (start, end) in enumerate(
        zip(path.points[:-1], path.points[1:], strict=True), 1
    ):
        if not np.isfinite([start, end]).all():
            continue
        move = end - start
        still = move == 0
        beside = still & ((start < low) | (start > high))
        if beside.any():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.stack([(low - start) / move, (high - start) / move])
        shares[:, still] = [[-np.inf], [np.inf]]
        entry, leave = max(0, shares.min(0).max()), min(1, shares.max(0).min())
        if entry < leave:
            share = np.array([entry, leave])
            before, after = path.losses[update - 1 : update + 1]
            with np.errstate(invalid="ignore"):  # a loss that is Inf has no height
                heights = before + share * (after - before)
            where = start + share[:, None] * move
            yield _Segment(update, where, heights, leaves=bool(leave < 1))
