"""A loss of several methods during training, as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curves(
    curves: Mapping[str, tuple[Sequence[int] | np.ndarray, np.ndarray]],
    *,
    label: str = "loss",
    top: float | None = None,
) -> Figure:
    """Draws the loss of several methods during training.

    A thin line is one seed, the thick one the median of all.

    Args:
      curves: By the method's name, the updates made at each test ``[tests]`` and the
        losses ``[tests, seeds]``.
      label: What the loss is, with its unit.
      top: The largest loss in the picture; None for that of the curves.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no curve, or if one's shapes do not fit together.

    Examples:
      >>> import numpy as np
      >>> import optax_ltd as ltd
      >>> losses = np.array([[4.5, 4.6], [3.9, 4.0], [3.5, 3.4]])  # of two seeds
      >>> curves = {"LSTM": ([0, 500, 1000], losses)}
      >>> figure = ltd.plots.loss_curves(curves, label="bits per character")
      >>> figure.axes[0].get_ylabel()
      'bits per character'
    """
    figure = _style.new_figure(8.0, 4.4)
    axes = figure.subplots()
    _style.draw_curves(axes, curves)
    axes.set_xlabel("updates")
    axes.set_ylabel(label)
    _style.strip(axes, y_axis="left")
    axes.set_xlim(left=0)
    axes.set_ylim(top=top)
    _style.label_lines(axes, at=-1)
    return figure
