"""What all pictures share: colours, frames and labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.extras import naming_extra
from optax_ltd._recurrent.flow.report import GradientFlow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too, after a grey for
# what the others are compared with.
COLORS = (
    "#6f6f6f",
    "#d55e00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)
FAINT = "#b8b8b8"
NORM_LABEL = r"norm of the error signal  $\|\delta_t\|$"
GAIN_LABEL = r"gain of a step  $\|\delta_t J_t\| / \|\delta_t\|$"
TIME_LABEL = "time step $t$; the error signal travels to the left"
_LABEL_GAP = 0.075  # between labels, as a share of the axes' height


def colors(*, skip: int = 0) -> Iterator[str]:
    """The colours of lines, over and over; without the first so many."""
    return itertools.cycle(COLORS[skip:])


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches.

    Raises MissingExtraError without Matplotlib.
    """
    with naming_extra("pictures"):
        from optax_ltd.plots._picture import Picture

    # Not by pyplot: no global state, no display, nothing to close.
    return Picture(figsize=(width, height), dpi=150, layout="constrained")


def check_report(name: str, report: Any) -> None:
    """Raises TypeError unless this is a report of a whole model."""
    if not isinstance(report, GradientFlow):
        raise TypeError(
            f"`{name}` must be what `optax_ltd.gradient_flow` returned, or "
            "`optax_ltd.GradientFlow(loss, flow)` of what `value_and_grad` returned; "
            f"got a {type(report).__name__}."
        )


def by_example(values: Any) -> np.ndarray:
    """``[T, B]`` of ``[T, *batch]``."""
    return np.asarray(values).reshape(len(values), -1)


def draw_curves(
    axes: Axes, curves: Mapping[str, tuple[Sequence[int] | np.ndarray, np.ndarray]]
) -> None:
    """A thin line a seed, and a thick labelled one for the median of a method's.

    Raises ValueError if there is no curve or shapes do not fit together.
    """
    if not curves:
        raise refusal("curves", "those of at least one method", curves)
    for (name, (updates, values)), color in zip(curves.items(), colors(), strict=False):
        updates, values = np.asarray(updates), np.asarray(values)
        if values.ndim != 2 or updates.shape != values.shape[:1] or not values.size:
            raise ValueError(
                f"`curves[{name!r}]` must be updates [tests] and values [tests, seeds]"
                f"; got shapes {updates.shape} and {values.shape}."
            )
        marker = "d" if len(updates) == 1 else None  # a line of one point is invisible
        axes.plot(
            updates, values, color=color, linewidth=0.8, alpha=0.6, marker=marker, ms=4
        )
        median = np.median(values, axis=1)
        axes.plot(
            updates, median, color=color, linewidth=2.2, marker=marker, label=name
        )


def strip(axes: Axes, y_axis: Literal["left", "right"]) -> None:
    """Leaves of the frame only the two axes that are read."""
    other = "left" if y_axis == "right" else "right"
    axes.spines[["top", other]].set_visible(False)
    axes.yaxis.set_ticks_position(y_axis)
    axes.yaxis.set_label_position(y_axis)
    axes.margins(x=0)


def tick_integers(axis: Axis) -> None:
    """Ticks at whole numbers only, even if there is but one."""
    from matplotlib.ticker import MaxNLocator

    steps = [1, 2, 5, 10]
    locator = MaxNLocator("auto", steps=steps, integer=True, min_n_ticks=1)
    axis.set_major_locator(locator)


def label_lines(axes: Axes, at: int) -> None:
    """Writes each line's name at the edge, as high as its first (0) or last (-1) point.

    A point that is not finite is none; a line without any is named half way up. Lines
    end at the edge or before it; the name has the colour of the line.
    """
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [np.asarray(line.get_xydata()) for line in lines]
    drawn = [xy[np.isfinite(xy).all(1)] for xy in points]
    heights = _spread(
        [to_axes.transform(xy[at])[1] if len(xy) else 0.5 for xy in drawn]
    )
    for line, y in zip(lines, heights, strict=True):
        axes.text(
            1.012 if at else -0.012,
            y,
            str(line.get_label()),
            transform=axes.transAxes,
            color=line.get_color(),
            ha="left" if at else "right",
            va="center",
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )


def _spread(heights: Sequence[float]) -> np.ndarray:
    """Moves heights apart, as little as needed, so that labels do not overlap."""
    order = np.argsort(heights)
    spread = np.array(heights, float)
    for _ in range(50):
        gaps = np.diff(spread[order])
        push = np.maximum(0, _LABEL_GAP - gaps) / 2
        spread[order[:-1]] -= push
        spread[order[1:]] += push
        spread = np.clip(spread, 0, 1)
    return spread
