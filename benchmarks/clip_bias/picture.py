"""Draws weight, angle and the two targets of a record of `clip_bias`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE = Path(__file__).parent.parent.parent / "assets" / "clip_per_example.png"


def write(entry: Mapping[str, Any], path: Path = PICTURE) -> Path:
    """Draws a record into a file and returns its path."""
    draw(entry).savefig(path)
    return path


def draw(entry: Mapping[str, Any]) -> Figure:
    """Draws the angle, the weight kept, and the case of two targets.

    Args:
      entry: the record.

    Returns:
      The figure.
    """
    figure = _style.new_figure(12.6, 3.9)
    weights, angles, gradients = figure.subplots(1, 3)
    _draw_weights(weights, entry)
    _draw_angles(angles, entry)
    _draw_gradients(gradients, entry)
    for axes in (angles, weights):
        axes.set_xscale("log")
        axes.set_xlabel("threshold / median norm of an example")
        axes.xaxis.set_major_formatter("{x:g}")
        _style.strip(axes, y_axis="right")
        _style.label_lines(axes, at=0)
    return figure


def _draw_weights(axes: Axes, entry: Mapping[str, Any]) -> None:
    for seen, color in zip(entry["sizes"], _style.COLORS[1:], strict=False):
        label = f"{seen['size']:.0f} times as large"
        line = seen["weight"]
        axes.plot(entry["thresholds"], line, color=color, linewidth=2, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("weight, that of an ordinary one = 1")
    axes.set_title("Large examples lose weight", loc="left", fontsize="medium")


def _draw_angles(axes: Axes, entry: Mapping[str, Any]) -> None:
    x, shares = entry["thresholds"], entry["shares"]
    grey, *colors = _style.COLORS
    straight = shares[-1]["angle_of_clipped_average"]
    axes.plot(x, straight, color=grey, linewidth=2, label="clipped average")
    for seen, color in zip(shares, colors, strict=False):
        label = f"{seen['share']:.0%} large"
        axes.plot(x, seen["angle"], color=color, linewidth=2, label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("angle to the mean gradient, degrees")
    axes.set_title("The average turns away", loc="left", fontsize="medium")


def _draw_gradients(axes: Axes, entry: Mapping[str, Any]) -> None:
    seen, x = entry["expected_gradient"], entry["places"]
    grey, color = _style.COLORS[:2]
    axes.plot(x, seen["clipped_average"], color=grey, linewidth=2)
    axes.plot(x, seen["average_of_clipped"], color=color, linewidth=2)
    bold: dict[str, Any] = {"fontweight": "bold", "va": "center"}
    axes.text(-0.1, 0.6, "clipped\naverage", color=grey, ha="right", **bold)
    axes.text(1.0, -0.2, "average\nof clipped", color=color, ha="left", **bold)
    axes.plot(entry["targets"], [0, 0], "o", color="black")
    axes.set_xlabel("parameter (the dots: the two targets)")
    axes.set_ylabel("mean gradient, clipped at 1")
    axes.set_title("Descent may rest off the minimum", loc="left", fontsize="medium")
    _style.strip(axes, y_axis="right")
