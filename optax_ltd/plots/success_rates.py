"""How often training succeeds, against length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from optax_ltd.plots import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Length, share of runs that succeeded, and the ends of its confidence interval.
Rate: TypeAlias = tuple[float, float, float, float]
_WIDTH, _HEIGHT = 3.2, 3.4
_SHIFT = 0.012  # between methods, as a share of the lengths, so that bars do not hide


def success_rates(panels: Mapping[str, Mapping[str, Sequence[Rate]]]) -> Figure:
    """Draws the share of successful runs against length, a panel each setting.

    A dot is a share, the bar through it its confidence interval.

    Args:
      panels: By the setting's name, and therein by the method's: the length, the share
        and the lower and the upper end of its interval, in ascending order of length.

    Returns:
      The figure; ``figure.savefig(path)`` writes it.

    Raises:
      ValueError: If there is no panel, or one without methods.

    Examples:
      >>> import optax_ltd as ltd
      >>> rates = {"clip": [(20, 1.0, 0.48, 1.0), (50, 0.2, 0.01, 0.72)]}
      >>> figure = ltd.plots.success_rates({"basic tanh": rates})
      >>> figure.axes[0].get_xlabel()
      'length'
    """
    if not panels or not all(panels.values()):
        raise ValueError(
            "panels must hold at least one setting, each with at least one method; got "
            f"{ {name: list(methods) for name, methods in panels.items()} }"
        )
    figure = _style.new_figure(_WIDTH * len(panels) + 1, _HEIGHT)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (setting, methods) in zip(all_axes, panels.items(), strict=True):
        for index, (method, rates) in enumerate(methods.items()):
            lengths, shares, lower, upper = zip(*rates, strict=True)
            shift = _SHIFT * max(lengths) * (index - (len(methods) - 1) / 2)
            bars = [
                [100 * (s - x) for s, x in zip(shares, lower, strict=True)],
                [100 * (x - s) for s, x in zip(shares, upper, strict=True)],
            ]
            axes.errorbar(
                [length + shift for length in lengths],
                [100 * share for share in shares],
                bars,
                color=_style.COLORS[index % len(_style.COLORS)],
                marker="o",
                elinewidth=0.8,
                label=method,
            )
        axes.set_title(setting)
        axes.set_xlabel("length")
        _style.strip(axes, y_axis="left")
        axes.margins(x=0.08)
        axes.set_ylim(-4, 104)
    all_axes[0].set_ylabel("seeds that solved it, at any test, %")
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure
