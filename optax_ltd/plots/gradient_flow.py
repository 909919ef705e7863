"""The error signal along time, as curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from optax_ltd._recurrent.flow.report import GradientFlow, LayerFlow


def gradient_flow(
    reports: GradientFlow | Mapping[str, GradientFlow],
) -> Figure:
    r"""Draws how the error signal travels back through time.

    Above, the norm of the error signal :math:`\delta_t = \partial L / \partial h_t` on
    a logarithmic scale; below, the gain :math:`\|\delta_t J_t\| / \|\delta_t\|` of each
    step. A line is the median over the examples of the batch, a band its quartiles.
    One column per recurrent layer. A dashed line marks the first step after which the
    hidden state of an example is Inf or NaN: the forward pass broke there.

    Args:
      reports: What `optax_ltd.gradient_flow` returned, or several such reports of one
        model by the names to label them with, to lay one over the other: before and
        after training, or one method and another.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no report, or if the reports differ in their layers.
      TypeError: If a report is none, such as the dict that ``value_and_grad`` returns.

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
    for name, report in named.items():
        _style.check_report(f"reports[{name!r}]" if name else "reports", report)
    layers = _common_layers(named)
    figure = _style.new_figure(4.0 + 3.6 * len(layers), 5.6)
    axes = figure.subplots(2, len(layers), sharex="col", sharey="row", squeeze=False)
    for (norm_axes, gain_axes), layer in zip(axes.T, layers, strict=True):
        for (name, report), color in zip(named.items(), _style.colors(), strict=False):
            flow = report.layers[layer]
            norms = np.where(flow.active, flow.error_norms, np.nan)
            gains = np.where(flow.active, flow.gains, np.nan)
            norm_axes.set_xlim(1, max(2, len(gains)))
            _draw_band(norm_axes, _style.by_example(norms), color, label=name)
            _draw_band(gain_axes, _style.by_example(gains), color, label=name)
            _mark_broken(norm_axes, gain_axes, flow, color, name)
        gain_axes.axhline(1, color=_style.FAINT, linewidth=1, zorder=0)
        _style.tick_integers(gain_axes.xaxis)
        gain_axes.set_xlabel(_style.TIME_LABEL)
        if len(layers) > 1:
            norm_axes.set_title(layer, loc="left", fontsize="medium")
    axes[0, 0].set_yscale("log")
    axes[1, 0].set_ylim(bottom=0, top=max(1.25, axes[1, 0].get_ylim()[1]))
    axes[0, -1].set_ylabel(_style.NORM_LABEL)
    axes[1, -1].set_ylabel(_style.GAIN_LABEL)
    for ax in axes.flat:
        _style.strip(ax, y_axis="right")
    if not isinstance(reports, Mapping):
        return figure
    for ax in axes[:, 0]:
        _style.label_lines(ax, at=0)
    return figure


def _common_layers(reports: Mapping[str, GradientFlow]) -> list[str]:
    """The names of the layers, the same in every report."""
    layers = [list(report.layers) for report in reports.values()]
    if not layers or any(names != layers[0] for names in layers):
        raise ValueError(
            f"`reports` must be one or more of the same layers; got those of {layers}."
        )
    return layers[0]


def _mark_broken(
    above: Axes, below: Axes, flow: LayerFlow, color: str, name: str
) -> None:
    """Marks the first step after which the state of some example is not finite."""
    broken = np.any(~_style.by_example(flow.state_finite), axis=1)
    if not broken.any():
        return
    step = 1 + int(np.argmax(broken))
    for axes in (above, below):
        axes.axvline(step, color=color, linestyle="--", linewidth=1.2)
    late = step > len(broken) / 2
    below.annotate(
        f"{name + ': ' if name else ''}hidden state Inf or NaN from step {step} on",
        (step, 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if late else 4, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        color=color,
    )


def _draw_band(axes: Axes, values: np.ndarray, color: str, label: str) -> None:
    """Median and quartiles over the examples of values [T, B], NaN where missing."""
    steps = np.arange(1, len(values) + 1)
    shown = ~np.isnan(values).all(axis=1)
    if not shown.any():
        return
    low, median, high = np.nanquantile(values[shown], (0.25, 0.5, 0.75), axis=1)
    axes.fill_between(steps[shown], low, high, color=color, alpha=0.18, linewidth=0)
    style = "-" if shown.sum() > 1 else "o"
    axes.plot(
        steps[shown],
        median,
        style,
        color=color,
        linewidth=2,
        label=label,
        clip_on=False,
    )
