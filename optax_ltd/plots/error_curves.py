"""The error of several methods during training, as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def error_curves(
    curves: Mapping[str, tuple[Sequence[int] | np.ndarray, np.ndarray]],
    *,
    chance_error: float,
    solved_below: float,
) -> Figure:
    """Draws the test error of several methods during training.

    A thin line is one seed, the thick one the median of all; a dot marks the test at
    which a seed had solved the task.

    Args:
      curves: By the method's name, the updates made at each test ``[tests]`` and the
        shares of wrong answers ``[tests, seeds]``.
      chance_error: The share of wrong answers of a model that ignores its input.
      solved_below: The share below which the task counts as solved.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no curve, or if one's shapes do not fit together.

    Examples:
      >>> import numpy as np
      >>> import optax_ltd as ltd
      >>> errors = np.array([[0.75, 0.7], [0.4, 0.2], [0.02, 0.005]])  # of two seeds
      >>> curves = {"SGD": ([0, 500, 1000], errors)}
      >>> figure = ltd.plots.error_curves(curves, chance_error=0.75, solved_below=0.01)
      >>> figure.axes[0].get_xlabel()
      'updates'
    """
    figure = _style.new_figure(8.0, 4.4)
    axes = figure.subplots()
    percent = {
        name: (updates, 100 * np.asarray(errors))
        for name, (updates, errors) in curves.items()
    }
    _style.draw_curves(axes, percent)
    for (updates, errors), color in zip(
        percent.values(), _style.colors(), strict=False
    ):
        _mark_solved(axes, np.asarray(updates), errors, 100 * solved_below, color)
    for level, text in ((chance_error, "chance"), (solved_below, "solved, below")):
        axes.axhline(
            100 * level, color=_style.FAINT, linewidth=1, dashes=(4, 3), zorder=0
        )
        text = f"{text} {100 * level:g} %"
        axes.annotate(
            text,
            (0, 100 * level),
            (4, 3),
            textcoords="offset points",
            fontsize="small",
            color=_style.COLORS[0],
        )
    axes.set_ylim(-4, 100 * min(1.0, 1.15 * chance_error))
    axes.set_xlabel("updates")
    axes.set_ylabel("wrong answers to fresh sequences, %")
    _style.strip(axes, y_axis="left")
    axes.set_xlim(left=0)
    _style.label_lines(axes, at=-1)
    return figure


def _mark_solved(
    axes: Axes, updates: np.ndarray, errors: np.ndarray, solved_below: float, color: str
) -> None:
    """A dot at each seed's first test below the threshold."""
    below = errors < solved_below
    seeds = np.flatnonzero(below.any(0))
    if not seeds.size:
        return  # An empty line that is not clipped would take room in the layout.
    first = below.argmax(0)[seeds]
    axes.plot(updates[first], errors[first, seeds], "o", color=color, clip_on=False)
