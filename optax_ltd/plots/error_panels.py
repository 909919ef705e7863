"""The error of several methods against cost or length, a panel each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from optax_ltd._numerics.checks import refusal
from optax_ltd.plots._panels import (
    check_panels,
    looks_of,
    name_methods,
    new_panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve: TypeAlias = "tuple[Sequence[float] | np.ndarray, np.ndarray]"


def error_panels(panels: Mapping[str, Mapping[str, Curve]], *, x_label: str) -> Figure:
    """Draws the test error of several methods, a panel each task.

    The x axis may be the cost of training, or the length of sequences; as both may
    differ by orders of magnitude, it is logarithmic. A thin line is one seed, the thick
    one the median of all, and a mark its end.

    Args:
      panels: By the task's name, and therein by the method's: x of each test
        ``[tests]``, above 0 and ascending, and the shares of wrong answers
        ``[tests, seeds]``. A NaN is not drawn, and counts as wrong in the median.
      x_label: What x is, with its unit.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no panel, one without methods, or a curve whose shapes do
        not fit together or whose tests do not ascend from above 0.

    Examples:
      >>> import numpy as np
      >>> import optax_ltd as ltd
      >>> errors = np.array([[0.75, 0.7], [0.4, 0.2], [0.02, 0.005]])  # of two seeds
      >>> curves = {"SGD": ([0.1, 1, 10], errors)}
      >>> figure = ltd.plots.error_panels({"addition": curves}, x_label="minutes")
      >>> figure.axes[0].get_xlabel()
      'minutes'
    """
    check_panels(panels)
    for task, methods in panels.items():
        for method, curve in methods.items():
            _check(f"panels[{task!r}][{method!r}]", *curve)
    looks = looks_of(panels)
    figure, every = new_panels(
        panels, x_label=x_label, y_label="wrong answers to\nfresh sequences, %"
    )
    for axes, methods in zip(every, panels.values(), strict=True):
        for method, (x, errors) in methods.items():
            _draw(axes, method, np.asarray(x), 100 * np.asarray(errors), looks[method])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.05)
        axes.set_ylim(-4, 104)
    name_methods(figure, looks)
    return figure


def _check(name: str, x: Sequence[float] | np.ndarray, errors: np.ndarray) -> None:
    x, values = np.asarray(x, float), np.asarray(errors)
    fits = values.ndim == 2 and x.shape == values.shape[:1] and values.size
    if not fits or not (x > 0).all() or not (np.diff(x) > 0).all():
        required = "ascending x > 0 [tests] and errors [tests, seeds]"
        raise refusal(name, required, (x, values.shape))


def _draw(
    axes: Axes, name: str, x: np.ndarray, errors: np.ndarray, look: tuple[str, str]
) -> None:
    color, marker = look
    axes.plot(x, errors, color=color, linewidth=0.6, alpha=0.45)
    axes.plot(
        x,
        np.median(np.where(np.isnan(errors), 100, errors), axis=1),
        color=color,
        linewidth=1.8,
        marker=marker,
        markevery=[len(x) - 1],
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.5,
        label=name,
        clip_on=False,
    )
