"""Pictures of learning over long spans. They need matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from optax_ltd._recurrent.report import GradientFlow

__all__ = ["error_curves", "gradient_flow"]

# Okabe and Ito's colours, told apart by colour-blind readers too, after a grey for
# what the others are compared with.
_COLORS = ("#6f6f6f", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")
_FAINT = "#b8b8b8"
_LABEL_GAP = 0.075  # between labels, as a share of the axes' height


def gradient_flow(
    reports: GradientFlow | Mapping[str, GradientFlow],
) -> Figure:
    r"""Draws how the error signal travels back through time.

    Above, the norm of the error signal :math:`\delta_t = \partial L / \partial h_t` on
    a logarithmic scale; below, the gain :math:`\|\delta_t J_t\| / \|\delta_t\|` of each
    step. A line is the median over the examples of the batch, a band its quartiles.
    One column per recurrent layer.

    Args:
      reports: What `optax_ltd.gradient_flow` returned, or several such reports of one
        model by the names to label them with, to lay one over the other: before and
        after training, or one method and another.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no report, or if the reports differ in their layers.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> rnn = ltd.FlowRNN(nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)))
      >>> loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
      >>> before = ltd.gradient_flow(loss_fn, rnn, jnp.ones((2, 10, 3)))
      >>> figure = ltd.plots.gradient_flow({"before training": before})
      >>> [axes.get_ylabel().partition("  ")[0] for axes in figure.axes]
      ['norm of the error signal', 'gain of a step']

    References:
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013.
    """
    named = reports if isinstance(reports, Mapping) else {"": reports}
    layers = _common_layers(named)
    figure = _figure(4.0 + 3.6 * len(layers), 5.6)
    axes = figure.subplots(2, len(layers), sharex="col", sharey="row", squeeze=False)
    for (norm_axes, gain_axes), layer in zip(axes.T, layers, strict=True):
        for (name, report), color in zip(named.items(), _cycle(), strict=False):
            flow = report.layers[layer]
            norms = np.where(flow.active, flow.error_norms, np.nan)
            gains = np.where(flow.active, flow.gains, np.nan)
            norm_axes.set_xlim(1, len(gains))
            _draw_band(norm_axes, norms, color, label=name)
            _draw_band(gain_axes, gains, color, label=name)
        gain_axes.axhline(1, color=_FAINT, linewidth=1, zorder=0)

        gain_axes.set_xlabel("time step $t$; the error signal travels to the left")
        if len(layers) > 1:
            norm_axes.set_title(layer, loc="left", fontsize="medium")
    axes[0, 0].set_yscale("log")
    axes[1, 0].set_ylim(bottom=0, top=max(1.25, axes[1, 0].get_ylim()[1]))
    axes[0, -1].set_ylabel(r"norm of the error signal  $\|\delta_t\|$")
    axes[1, -1].set_ylabel(r"gain of a step  $\|\delta_t J_t\| / \|\delta_t\|$")
    for ax in axes.flat:
        _strip(ax, y_axis="right")
    if not isinstance(reports, Mapping):
        return figure
    for ax in axes[:, 0]:
        _label_lines(ax, at=0)
    return figure


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
    if not curves:
        raise ValueError("curves must hold at least one method, got none")
    figure = _figure(8.0, 4.4)
    axes = figure.subplots()
    for (name, (updates, errors)), color in zip(curves.items(), _cycle(), strict=False):
        updates, errors = np.asarray(updates), np.asarray(errors)
        if errors.ndim != 2 or updates.shape != errors.shape[:1] or not errors.size:
            raise ValueError(
                f"curves[{name!r}] must be updates [tests] and errors [tests, seeds], "
                f"got shapes {updates.shape} and {errors.shape}"
            )
        axes.plot(updates, 100 * errors, color=color, linewidth=0.8, alpha=0.6)
        median = 100 * np.median(errors, axis=1)
        axes.plot(updates, median, color=color, linewidth=2.2, label=name)
        _mark_solved(axes, updates, errors, solved_below, color)
    for level, text in ((chance_error, "chance"), (solved_below, "solved, below")):
        axes.axhline(100 * level, color=_FAINT, linewidth=1, dashes=(4, 3), zorder=0)
        text = f"{text} {100 * level:g} %"
        axes.annotate(
            text,
            (0, 100 * level),
            (4, 3),
            textcoords="offset points",
            fontsize="small",
            color=_COLORS[0],
        )
    axes.set_ylim(-4, 100 * min(1.0, 1.15 * chance_error))
    axes.set_xlabel("updates")
    axes.set_ylabel("wrong answers to fresh sequences, %")
    _strip(axes, y_axis="left")
    axes.set_xlim(left=0)
    _label_lines(axes, at=-1)
    return figure


def _cycle() -> Iterator[str]:
    return itertools.cycle(_COLORS)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    # Not by pyplot: no global state, no display, nothing to close.
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _common_layers(reports: Mapping[str, GradientFlow]) -> list[str]:
    """The names of the layers, the same in every report."""
    layers = [list(report.layers) for report in reports.values()]
    if not layers or any(names != layers[0] for names in layers):
        raise ValueError(
            f"reports must be one or more of the same layers, got those of {layers}"
        )
    return layers[0]


def _draw_band(axes: Axes, values: np.ndarray, color: str, label: str) -> None:
    """Median and quartiles over the examples of values [T, B], NaN where missing."""
    steps = np.arange(1, len(values) + 1)
    shown = ~np.isnan(values).all(axis=1)
    if not shown.any():
        return
    low, median, high = np.nanquantile(values[shown], (0.25, 0.5, 0.75), axis=1)
    axes.fill_between(steps[shown], low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(steps[shown], median, color=color, linewidth=2, label=label)


def _mark_solved(
    axes: Axes, updates: np.ndarray, errors: np.ndarray, solved_below: float, color: str
) -> None:
    """A dot at each seed's first test below the threshold."""
    for seed in errors.T:
        solved = np.flatnonzero(seed < solved_below)[:1]
        axes.plot(updates[solved], 100 * seed[solved], "o", color=color, clip_on=False)


def _strip(axes: Axes, y_axis: Literal["left", "right"]) -> None:
    """Leaves of the frame only the two axes that are read."""
    other = "left" if y_axis == "right" else "right"
    axes.spines[["top", other]].set_visible(False)
    axes.yaxis.set_ticks_position(y_axis)
    axes.yaxis.set_label_position(y_axis)
    axes.margins(x=0)


def _label_lines(axes: Axes, at: int) -> None:
    """Writes each labelled line's name beside its first (0) or last (-1) point."""
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [np.asarray(line.get_xydata())[at] for line in lines]
    points = [to_axes.transform(end) for end in ends]
    heights = _spread([y for _, y in points])
    for line, (x, _), y in zip(lines, points, heights, strict=True):
        axes.text(
            x + 0.012 if at else -0.012,
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
    return spread
