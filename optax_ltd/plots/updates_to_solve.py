"""After how many updates training solved its task, a dot a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optax_ltd._numerics.checks import refusal
from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    Runs = Mapping[str, tuple[Sequence[int | None], int]]

_WIDTH, _AXES_WIDTH = 7.6, 5.5  # inches; the second is a guess
_ROW, _TALLEST_ROW = 0.27, 0.6  # inches
_MARK = 6.5  # points, the width of a mark
_PITCH = 1.15 * _MARK / 72  # inches from mark to mark in a pile
_GAP, _HEADING = 1.4, 0.85  # rows to the next group, and from a heading to its runs
_PILE = 0.7  # share of a row between the ends of the tallest pile, at most
# Of the numbers at ticks, by the ratio of the axis' ends below which there is room.
_FIRST_DIGITS = {4: range(1, 10), 10: (1, 2, 3, 5, 7), 1000: (1, 2, 5), np.inf: (1,)}
_SOLVED, _UNSOLVED = "solved", "not solved by the last update"


def updates_to_solve(groups: Mapping[str, Runs]) -> Figure:
    """Draws after how many updates each seed of each run first solved its task.

    A row is a run and a dot one of its seeds; a hollow mark at the run's last update is
    a seed that had not solved the task by then. Marks that would hide each other lie
    above each other. The axis of updates is logarithmic.

    Args:
      groups: By the group's heading, "" for none, and therein by the run's name: the
        number of updates after which each seed first solved the task ``[seeds]``, None
        where it did not, and that of the whole run.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no group, one without runs or a run without seeds; if a
        number of updates is below 1 or beyond that of its run.

    Examples:
      >>> import optax_ltd as ltd
      >>> runs = {"SGD": ([9000, None], 20_000), "SGD + clip": ([2000, 3000], 3000)}
      >>> figure = ltd.plots.updates_to_solve({"T = 50": runs})
      >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
      ['SGD', 'SGD + clip']
    """
    _check(groups)
    rows = _rows(groups)
    runs = {at: groups[group][name] for at, (group, name) in rows.items()}
    marks = {at: _marks(*run) for at, run in runs.items()}
    low, high = _limits(np.concatenate(list(marks.values())))
    mark_width = _MARK / 72 / _AXES_WIDTH * np.log(high / low)
    offsets = {at: _pile(np.log(x), mark_width) for at, x in marks.items()}
    tallest = max(np.ptp(values) for values in offsets.values())
    row = float(np.clip(_PITCH * (tallest + 1), _ROW, _TALLEST_ROW))
    pitch = min(_PITCH / row, _PILE / max(tallest, 1))

    bottom = max(rows) + 0.8
    figure = _style.new_figure(_WIDTH, row * (bottom + 1) + 1)
    axes = figure.subplots()
    solved = np.concatenate(
        [[at is not None for at in ats] for ats, _ in runs.values()]
    )
    x = np.concatenate(list(marks.values()))
    y = np.concatenate([at + pitch * offsets[at] for at in rows])
    _draw_marks(axes, x, y, solved)
    axes.grid(color=_style.FAINT, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    _write_headings(axes, rows)
    _style.strip(axes, y_axis="left")
    axes.spines["left"].set_visible(False)
    axes.set_yticks(list(rows), [name for _, name in rows.values()])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(bottom, -0.8)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    _tick_updates(axes.xaxis, high / low)
    axes.set_xlabel("updates")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _check(groups: Mapping[str, Runs]) -> None:
    """Raises ValueError if there is nothing to draw, or updates make no sense."""
    if not groups or not all(groups.values()):
        required = "at least one group, each with at least one run"
        given = {heading: list(runs) for heading, runs in groups.items()}
        raise refusal("groups", required, given)
    for heading, runs in groups.items():
        for name, (solved_at, last) in runs.items():
            known = [at for at in solved_at if at is not None]
            if not len(solved_at) or not all(1 <= at <= last for at in [*known, last]):
                raise ValueError(
                    f"`groups[{heading!r}][{name!r}]` must be updates of at least one "
                    "seed, each None or from 1 up to those of the run, and those of "
                    f"the run; got {solved_at!r} and {last!r}."
                )


def _rows(groups: Mapping[str, Runs]) -> dict[float, tuple[str, str]]:
    """Heading and name of each run by its row, counted down from the first."""
    rows, at = {}, 0.0
    for heading, runs in groups.items():
        if heading:
            at += _HEADING
        for name in runs:
            rows[at] = heading, name
            at += 1
        at += _GAP - 1
    return rows


def _marks(solved_at: Sequence[int | None], last: int) -> np.ndarray:
    """Where the marks of a run's seeds lie along the axis of updates, [seeds]."""
    return np.array([last if at is None else at for at in solved_at], float)


def _limits(updates: np.ndarray) -> tuple[float, float]:
    """The ends of the axis, a little beyond the first and last mark."""
    low, high = updates.min(), updates.max()
    margin = 1.05 * (high / low) ** 0.04
    return low / margin, high * margin


def _pile(positions: np.ndarray, width: float) -> np.ndarray:
    """How many marks each lies above the middle of its row, so that none is hidden.

    Args:
      positions: Of marks along the axis, [seeds].
      width: Of a mark.
    """
    order = np.argsort(positions, kind="stable")
    gaps = np.diff(positions[order]) >= width
    offsets = np.zeros(len(positions))
    for pile in np.split(order, np.flatnonzero(gaps) + 1):
        offsets[pile] = np.arange(len(pile)) - (len(pile) - 1) / 2
    return offsets


def _draw_marks(axes: Axes, x: np.ndarray, y: np.ndarray, solved: np.ndarray) -> None:
    """Dots of seeds that solved the task, and hollow marks of the others."""
    looks = (
        (_SOLVED, solved, _style.COLORS[2], _style.COLORS[2]),
        (_UNSOLVED, ~solved, _style.COLORS[1], "white"),
    )
    for label, chosen, color, fill in looks:
        if chosen.any():
            axes.plot(
                x[chosen],
                y[chosen],
                "o",
                color=color,
                markerfacecolor=fill,
                markersize=_MARK - 1,  # without its edge
                label=label,
            )


def _write_headings(axes: Axes, rows: Mapping[float, tuple[str, str]]) -> None:
    """Each group's heading above its first row."""
    first = {}
    for at, (heading, _) in rows.items():
        first.setdefault(heading, at)
    for heading, at in first.items():
        axes.text(
            0,
            at - _HEADING,
            heading,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


def _tick_updates(axis: Axis, ratio: float) -> None:
    """Ticks at round numbers of updates, as many as a ratio of the ends leaves room."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    digits = next(digits for end, digits in _FIRST_DIGITS.items() if ratio < end)
    axis.set_major_locator(LogLocator(subs=digits, numticks=20))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_locator(NullLocator())
