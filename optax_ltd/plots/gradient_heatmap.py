"""The error signal of every step and example, as a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    from optax_ltd._recurrent.flow.report import GradientFlow, LayerFlow

_NONE = "#c6c6c6"
_NONFINITE = "#d55e00"
_BROKEN = "#3b3b3b"
_NORM_COLORS = "viridis"
_GAIN_COLORS = "PRGn"  # green where it grows, violet where it fades, white at 1
_LEAST_DECADES = 2
_GAIN_TICKS = (0.25, 0.5, 1, 2, 4)


class _Cells(NamedTuple):
    """What to draw of a layer, each ``[B, T]``; NaN where there is no signal."""

    norms: np.ndarray
    gains: np.ndarray
    norm_nonfinite: np.ndarray
    gain_nonfinite: np.ndarray
    state_nonfinite: np.ndarray


def gradient_heatmap(report: GradientFlow) -> Figure:
    r"""Draws the error signal of every example at every step.

    Where `gradient_flow` shows the middle of a batch, this shows which examples differ.
    Above, the norm of the error signal :math:`\delta_t = \partial L / \partial h_t`;
    below, the gain :math:`\|\delta_t J_t\| / \|\delta_t\|` of each step, violet where
    the signal fades and green where it grows. Both scales are logarithmic; that of the
    gains is the same in every picture, from 1/4 to 4 and what lies beyond. Time runs to
    the right, and examples lie below each other. One column per recurrent layer.

    Grey cells have no error signal, or are masked; in orange ones the norm, or what the
    step passes on, is Inf or NaN. Dark ones say where the forward pass broke: there the
    hidden state is Inf or NaN, and no error signal means anything.

    Args:
      report: What `optax_ltd.gradient_flow` returned.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If the report holds no layer.
      TypeError: If a report is none, such as the dict that ``value_and_grad`` returns.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> rnn = ltd.FlowRNN(nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)))
      >>> loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
      >>> report = ltd.gradient_flow(loss_fn, rnn, jnp.ones((2, 10, 3)))
      >>> figure = ltd.plots.gradient_heatmap(report)
      >>> [axes.get_ylabel() for axes in figure.axes[:2]]
      ['example', 'example']

    References:
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013.
    """
    _style.check_report("report", report)
    if not report.layers:
        raise ValueError("`report` must be that of at least one layer; got none.")
    from matplotlib.colors import LogNorm

    layers = {name: _cells(flow) for name, flow in report.layers.items()}
    figure, axes = _new_maps(layers)
    norm_scale = _norm_scale([cells.norms for cells in layers.values()])
    gain_scale = LogNorm(_GAIN_TICKS[0], _GAIN_TICKS[-1])
    for (above, below), cells in zip(axes.T, layers.values(), strict=True):
        _draw(above, cells.norms, norm_scale, _NORM_COLORS)
        _draw(below, cells.gains, gain_scale, _GAIN_COLORS)
        _overlay(above, cells.norm_nonfinite & ~cells.state_nonfinite, _NONFINITE)
        _overlay(below, cells.gain_nonfinite & ~cells.state_nonfinite, _NONFINITE)
        for ax in (above, below):
            _overlay(ax, cells.state_nonfinite, _BROKEN)
    above, below = axes
    bar = figure.colorbar(above[-1].images[0], ax=list(above), label=_style.NORM_LABEL)
    bar.ax.yaxis.set_minor_formatter("")
    bar = figure.colorbar(
        below[-1].images[0], ax=list(below), label=_style.GAIN_LABEL, extend="both"
    )
    bar.set_ticks(_GAIN_TICKS, labels=[f"{gain:g}" for gain in _GAIN_TICKS])
    bar.minorticks_off()
    _add_legend(figure, list(layers.values()))
    return figure


def _new_maps(layers: dict[str, _Cells]) -> tuple[Figure, Any]:
    """A figure with axes ``[2, layers]``, which share what they can."""
    figure = _style.new_figure(2.6 + 3.6 * len(layers), 5.6)
    batches = {len(cells.norms) for cells in layers.values()}
    axes = figure.subplots(
        2,
        len(layers),
        sharex="col",
        sharey="all" if len(batches) == 1 else "col",
        squeeze=False,
    )
    for (above, below), name in zip(axes.T, layers, strict=True):
        below.set_xlabel(_style.TIME_LABEL)
        if len(layers) > 1:
            above.set_title(name, loc="left", fontsize="medium")
    for ax in axes[:, 0]:
        ax.set_ylabel("example")
    return figure, axes


def _cells(flow: LayerFlow) -> _Cells:
    norms, gains, active, state_finite = (
        _style.by_example(x).T
        for x in (flow.error_norms, flow.gains, flow.active, flow.state_finite)
    )
    nonfinite = ~np.isfinite(norms)
    # A step whose own signal is finite may pass on what is not.
    overflows = ~nonfinite & (norms > 0) & ~active
    overflows[:, 0] = False
    overflows[:, 1:] &= nonfinite[:, :-1]
    return _Cells(
        norms=np.where(active | overflows, norms, np.nan),
        gains=np.where(active, gains, np.nan),
        norm_nonfinite=nonfinite,
        gain_nonfinite=nonfinite | overflows,
        state_nonfinite=~state_finite,
    )


def _norm_scale(norms: list[np.ndarray]) -> LogNorm:
    from matplotlib.colors import LogNorm

    seen = np.concatenate([np.log10(x[x > 0]) for x in norms])
    low, high = (seen.min(), seen.max()) if seen.size else (0.0, 0.0)
    # Norms that are nearly the same should look so.
    wider = max(0.0, _LEAST_DECADES - (high - low)) / 2
    return LogNorm(10.0 ** (low - wider), 10.0 ** (high + wider))


def _draw(axes: Axes, values: np.ndarray, scale: LogNorm, colors: str) -> None:
    """One map of values [B, T], step and example 1 at the upper left."""
    import matplotlib as mpl

    colormap = mpl.colormaps[colors].with_extremes(bad=_NONE)
    clipped = np.clip(values, scale.vmin, scale.vmax)
    axes.imshow(clipped, cmap=colormap, norm=scale, **_place(values))
    axes.spines[:].set(color=_style.FAINT, linewidth=0.5)
    _style.tick_integers(axes.xaxis)
    _style.tick_integers(axes.yaxis)


def _overlay(axes: Axes, cells: np.ndarray, color: str) -> None:
    """Cells [B, T] in one colour over what is drawn."""
    from matplotlib.colors import ListedColormap

    if cells.any():
        marked = np.where(cells, 1.0, np.nan)
        axes.imshow(marked, cmap=ListedColormap([color]), **_place(cells))


def _place(cells: np.ndarray) -> dict[str, Any]:
    examples, steps = cells.shape
    extent = (0.5, steps + 0.5, examples + 0.5, 0.5)
    return {"aspect": "auto", "interpolation": "nearest", "extent": extent}


def _add_legend(figure: Figure, layers: list[_Cells]) -> None:
    """Says what the cells without a value are, if there are any."""
    from matplotlib.patches import Patch

    broken = any(cells.state_nonfinite.any() for cells in layers)
    nonfinite = any((c.gain_nonfinite & ~c.state_nonfinite).any() for c in layers)
    empty = any(
        (np.isnan(c.gains) & ~c.gain_nonfinite & ~c.state_nonfinite).any()
        for c in layers
    )
    kinds = (
        (empty, _NONE, "no error signal, or masked"),
        (nonfinite, _NONFINITE, "Inf or NaN"),
        (broken, _BROKEN, "hidden state is Inf or NaN"),
    )
    patches = [Patch(color=color, label=text) for seen, color, text in kinds if seen]
    if patches:
        figure.legend(
            handles=patches, loc="outside lower right", ncols=3, frameon=False
        )
