from typing import Any

import numpy as np
import pytest

from optax_ltd import plots
from tests.plots.drawn import line, texts
from tests.plots.reports import B, T, layer_flow, of_layers, report


def test_lines_are_the_medians_over_examples():
    flow = report(0.5, "rnn")
    norm_axes, gain_axes = plots.gradient_flow(flow).axes
    layer = flow.layers["rnn"]
    np.testing.assert_array_equal(line(norm_axes)[:, 0], np.arange(1, T + 1))
    for axes, values in ((norm_axes, layer.error_norms), (gain_axes, layer.gains)):
        np.testing.assert_allclose(line(axes)[:, 1], np.median(values, axis=1))
    assert norm_axes.get_yscale() == "log"


def test_bands_are_the_quartiles():
    flow = report(0.5, "rnn")
    for axes, values in zip(
        plots.gradient_flow(flow).axes,
        (flow.layers["rnn"].error_norms, flow.layers["rnn"].gains),
        strict=True,
    ):
        (band,) = axes.collections
        corners = np.asarray(band.get_paths()[0].vertices)
        for quantile in (0.25, 0.75):
            heights = np.quantile(np.asarray(values), quantile, axis=1)
            assert all(np.isclose(corners[:, 1], height).any() for height in heights)


def test_steps_without_a_signal_are_left_out():
    norm_axes, gain_axes = plots.gradient_flow(report(0.5, "rnn", inactive=4)).axes
    for axes in (norm_axes, gain_axes):
        np.testing.assert_array_equal(line(axes)[:, 0], np.arange(5, T + 1))
        assert axes.get_xlim() == (1, T)


def test_layer_without_any_signal_is_left_out():
    silent = report(0.5, "rnn", inactive=T)
    figure = plots.gradient_flow({"silent": silent, "after": report(0.5, "rnn")})
    assert texts(figure) == ["after"] * 2


def test_reports_lie_over_one_another_with_their_names_and_colors():
    reports = {"before": report(0.5, "rnn"), "after": report(0.99, "rnn")}
    figure = plots.gradient_flow(reports)
    assert texts(figure) == ["before", "after"] * 2
    for axes in figure.axes:
        labels = [text.get_color() for text in axes.texts]
        assert labels == [axes.lines[i].get_color() for i in (0, 1)]
        assert labels[0] != labels[1]


def test_the_step_where_the_forward_pass_broke_is_marked():
    none = np.zeros((T, B))
    broken = np.arange(T)[:, None] >= np.r_[8, np.full(B - 1, T)]
    report = of_layers(rnn=layer_flow(none, none, broken))
    figure = plots.gradient_flow(report)
    for axes in figure.axes:
        (mark,) = (x for x in axes.lines if x.get_linestyle() == "--")
        np.testing.assert_array_equal(mark.get_xdata(), 9)
    assert texts(figure) == ["hidden state Inf or NaN from step 9 on"]


def test_one_report_needs_no_label():
    assert texts(plots.gradient_flow(report(0.5, "rnn"))) == []


def test_layers_have_a_column_each():
    figure = plots.gradient_flow(report(0.5, "first", "second"))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["first", "second", "", ""]


def test_reports_of_other_layers_are_refused():
    reports = {"a": report(0.5, "rnn"), "b": report(0.5, "lstm")}
    with pytest.raises(ValueError, match=r"same layers; got .*rnn.*lstm"):
        plots.gradient_flow(reports)
    with pytest.raises(ValueError, match="one or more"):
        plots.gradient_flow({})


def test_a_single_step_is_a_dot():
    flow = of_layers(rnn=layer_flow(np.ones((1, B)), np.ones((1, B))))
    for axes in plots.gradient_flow(flow).axes:
        assert axes.lines[0].get_marker() == "o"


@pytest.mark.parametrize(
    ("shape", "value"), [((1, 1), 0.0), ((T, B), np.nan), ((1, B), 1.0), ((T, 1), 1.0)]
)
def test_curves_of_little(shape, value, tmp_path):
    flow = of_layers(rnn=layer_flow(np.full(shape, value), np.ones(shape)))
    plots.gradient_flow(flow).savefig(tmp_path / "picture.png", dpi=20)


def test_what_is_no_report_is_refused():
    flow: Any = report(0.5, "rnn").layers["rnn"]
    with pytest.raises(TypeError, match=r"^`reports` must be .*; got a LayerFlow"):
        plots.gradient_flow(flow)
    with pytest.raises(TypeError, match=r"`reports\[.*`.*GradientFlow\(loss, flow\)`"):
        plots.gradient_flow({"rnn": flow})


def test_it_can_be_written_without_a_display(tmp_path):
    figure = plots.gradient_flow({"Ω": report(0.5, "rnn")})
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
