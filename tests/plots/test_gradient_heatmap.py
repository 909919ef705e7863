from typing import Any

import numpy as np
import pytest

from optax_ltd import plots
from tests.plots.reports import RNG, B, T, layer_flow, of_layers, report


def image(axes, index: int = 0) -> np.ma.MaskedArray:
    """Values of a map ``[B, T]``, masked where there are none."""
    return axes.images[index].get_array()


def test_maps_hold_every_norm_and_gain():
    norms, gains = RNG.uniform(1e-6, 1, (T, B)), RNG.uniform(0.3, 3, (T, B))
    above, below, *_ = plots.gradient_heatmap(
        of_layers(rnn=layer_flow(norms, gains))
    ).axes
    for axes, values in ((above, norms), (below, gains)):
        assert len(axes.images) == 1
        np.testing.assert_allclose(image(axes), values.T, rtol=1e-6)
        assert axes.images[0].get_extent() == [0.5, T + 0.5, B + 0.5, 0.5]


def test_scales_are_shared_by_layers_and_gains_lie_about_one():
    first = layer_flow(np.full((T, B), 1e-6), np.full((T, B), 100.0))
    second = layer_flow(np.full((T, B), 1e2), np.full((T, B), 0.0))
    figure = plots.gradient_heatmap(of_layers(first=first, second=second))
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == [
        "first",
        "second",
    ]
    limits = [axes.images[0].get_clim() for axes in figure.axes[:4]]
    np.testing.assert_allclose(limits, [(1e-6, 1e2)] * 2 + [(0.25, 4)] * 2, rtol=1e-5)
    # What lies beyond has the color of the end.
    np.testing.assert_array_equal(image(figure.axes[2]), 4)
    np.testing.assert_array_equal(image(figure.axes[3]), 0.25)


def test_cells_without_a_signal_and_nonfinite_ones_stand_apart():
    norms, gains = np.ones((4, 3)), np.ones((4, 3))
    norms[:2, 0] = np.nan, np.inf
    gains[2, 0] = np.inf  # passes on what is not finite
    norms[3, 1] = 0
    above, below, *_ = (
        figure := plots.gradient_heatmap(of_layers(rnn=layer_flow(norms, gains)))
    ).axes
    empty = np.zeros((3, 4), bool)
    empty[1, 3] = True
    for axes, bad in ((above, [0, 1]), (below, [0, 1, 2])):
        nonfinite = np.zeros((3, 4), bool)
        nonfinite[0, bad] = True
        np.testing.assert_array_equal(image(axes).mask, empty | nonfinite)
        np.testing.assert_array_equal(~image(axes, 1).mask, nonfinite)
        drawn = axes.images[1].to_rgba(image(axes, 1))
        assert len(np.unique(drawn[nonfinite], axis=0)) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "no error signal, or masked",
        "Inf or NaN",
    ]


def test_where_the_forward_pass_broke_stands_apart_from_no_signal():
    none = np.zeros((4, 2))
    broken = np.arange(4)[:, None] >= [2, 4]
    report = of_layers(rnn=layer_flow(none, none + 1, broken))
    figure = plots.gradient_heatmap(report)
    for axes in figure.axes[:2]:
        np.testing.assert_array_equal(~image(axes, 1).mask, broken.T)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "no error signal, or masked",
        "hidden state is Inf or NaN",
    ]


def test_layers_of_other_lengths_and_batches_are_drawn():
    layers = {
        "a": layer_flow(np.ones((T, B)), np.ones((T, B))),
        "b": layer_flow(np.ones((3, 2)), np.ones((3, 2))),
    }
    figure = plots.gradient_heatmap(of_layers(**layers))
    assert [axes.get_xlim() for axes in figure.axes[:2]] == [(0.5, T + 0.5), (0.5, 3.5)]
    assert [axes.get_ylim() for axes in figure.axes[:2]] == [(B + 0.5, 0.5), (2.5, 0.5)]


def test_a_report_without_layers_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        plots.gradient_heatmap(of_layers())


@pytest.mark.parametrize(
    ("shape", "value"), [((1, 1), 0.0), ((T, B), np.nan), ((1, B), 1.0), ((T, 1), 1.0)]
)
def test_maps_of_little(shape, value, tmp_path):
    flow = of_layers(rnn=layer_flow(np.full(shape, value), np.ones(shape)))
    plots.gradient_heatmap(flow).savefig(tmp_path / "picture.png", dpi=20)


def test_what_is_no_report_is_refused():
    flow: Any = report(0.5, "rnn").layers["rnn"]
    with pytest.raises(TypeError, match=r"^`report` must be .*; got a LayerFlow"):
        plots.gradient_heatmap(flow)
    layers: Any = {"rnn": flow}
    with pytest.raises(TypeError, match=r"must be .*GradientFlow\(loss, flow\)"):
        plots.gradient_heatmap(layers)
