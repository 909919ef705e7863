from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import optax_ltd as ltd
from optax_ltd import plots

T, B = 12, 9
RNG = np.random.default_rng(0)


def layer_flow(norms: np.ndarray, gains: np.ndarray) -> ltd.LayerFlow:
    """What a layer reports of norms and gains ``[T, B]``, as of one call."""
    active = np.isfinite(norms) & (norms > 0) & np.isfinite(gains)
    record = ltd.FlowRecord.zeros(norms.shape)._replace(
        error_norms=jnp.asarray(norms, jnp.float32),
        gains=jnp.asarray(np.where(active, gains, 0), jnp.float32),
        active=jnp.asarray(active, jnp.float32),
        calls=jnp.ones(()),
    )
    return ltd.LayerFlow.from_record(record)


def of_layers(**layers: ltd.LayerFlow) -> ltd.GradientFlow:
    return ltd.GradientFlow(loss=jnp.float32(1), layers=layers)


def report(decay: float, *names: str, inactive: int = 0) -> ltd.GradientFlow:
    """A signal that shrinks by a factor a step, gone at the first few."""
    lag = np.arange(T)[::-1, None]
    norms = decay**lag * RNG.uniform(0.5, 1.5, (T, B))
    gains = decay * RNG.uniform(0.9, 1.1, (T, B))
    active = np.broadcast_to(np.arange(T)[:, None] >= inactive, (T, B))
    layer = layer_flow(np.where(active, norms, 0), gains)
    return of_layers(**dict.fromkeys(names, layer))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def line(axes, index: int = 0) -> np.ndarray:
    return np.asarray(axes.lines[index].get_xydata())


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


def test_one_report_needs_no_label():
    assert texts(plots.gradient_flow(report(0.5, "rnn"))) == []


def test_layers_have_a_column_each():
    figure = plots.gradient_flow(report(0.5, "first", "second"))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["first", "second", "", ""]


def test_reports_of_other_layers_are_refused():
    reports = {"a": report(0.5, "rnn"), "b": report(0.5, "lstm")}
    with pytest.raises(ValueError, match=r"same layers, got .*rnn.*lstm"):
        plots.gradient_flow(reports)
    with pytest.raises(ValueError, match="one or more"):
        plots.gradient_flow({})


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


@pytest.mark.parametrize(
    ("shape", "value"), [((1, 1), 0.0), ((T, B), np.nan), ((1, B), 1.0), ((T, 1), 1.0)]
)
def test_maps_and_curves_of_little(shape, value, tmp_path):
    flow = of_layers(rnn=layer_flow(np.full(shape, value), np.ones(shape)))
    for draw in (plots.gradient_heatmap, plots.gradient_flow):
        draw(flow).savefig(tmp_path / "picture.png", dpi=20)


def test_a_single_step_is_a_dot():
    flow = of_layers(rnn=layer_flow(np.ones((1, B)), np.ones((1, B))))
    for axes in plots.gradient_flow(flow).axes:
        assert axes.lines[0].get_marker() == "o"


def test_layers_of_other_lengths_and_batches_are_drawn():
    layers = {
        "a": layer_flow(np.ones((T, B)), np.ones((T, B))),
        "b": layer_flow(np.ones((3, 2)), np.ones((3, 2))),
    }
    figure = plots.gradient_heatmap(of_layers(**layers))
    assert [axes.get_xlim() for axes in figure.axes[:2]] == [(0.5, T + 0.5), (0.5, 3.5)]
    assert [axes.get_ylim() for axes in figure.axes[:2]] == [(B + 0.5, 0.5), (2.5, 0.5)]


@pytest.mark.parametrize("draw", [plots.gradient_flow, plots.gradient_heatmap])
def test_what_is_no_report_is_refused(draw: Any):
    flow = report(0.5, "rnn").layers["rnn"]
    with pytest.raises(TypeError, match=r"^reports? must be .* got a LayerFlow"):
        draw(flow)
    with pytest.raises(TypeError, match=r"must be .*GradientFlow\(loss, flow\)"):
        draw({"rnn": flow})


def test_a_report_without_layers_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        plots.gradient_heatmap(of_layers())


UPDATES = np.array([10, 20, 30])
ERRORS = np.array([[0.75, 0.74, 0.7], [0.5, 0.005, 0.6], [0.004, 0.002, 0.5]])


def curves(**errors: np.ndarray) -> Figure:
    named = {name: (UPDATES[: len(e)], e) for name, e in errors.items()}
    return plots.error_curves(named, chance_error=0.75, solved_below=0.01)


def test_error_curves_show_every_seed_their_median_and_where_they_solved():
    (axes,) = curves(sgd=ERRORS).axes
    for seed in range(3):
        np.testing.assert_allclose(line(axes, seed)[:, 1], 100 * ERRORS[:, seed])
    np.testing.assert_allclose(line(axes, 3)[:, 1], [74, 50, 0.4])
    np.testing.assert_allclose(line(axes, 4), [[30, 0.4], [20, 0.5]])


def test_curves_that_solved_nothing_have_no_dots():
    (axes,) = curves(sgd=ERRORS[:1]).axes
    assert all(drawn.get_marker() == "None" for drawn in axes.lines)


def test_error_curves_name_methods_and_levels():
    figure = curves(sgd=ERRORS, clip=ERRORS[:2])
    assert texts(figure) == ["chance 75 %", "solved, below 1 %", "sgd", "clip"]


def test_labels_of_equal_curves_do_not_overlap():
    figure = curves(a=ERRORS, b=ERRORS, c=ERRORS, d=ERRORS)
    heights = sorted(text.get_position()[1] for text in figure.axes[0].texts[2:])
    assert np.diff(heights).min() > 0.07
    assert heights[0] >= 0


def test_error_curves_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one method"):
        curves()
    with pytest.raises(ValueError, match=r"curves\['sgd'\] must be .* got .*\(3,\)"):
        curves(sgd=ERRORS[:, 0])


@pytest.mark.parametrize("draw", ["gradient_flow", "error_curves"])
def test_pictures_can_be_written_without_a_display(draw, tmp_path):
    if draw == "gradient_flow":
        figure = plots.gradient_flow({"Ω": report(0.5, "rnn")})
    else:
        figure = curves(Ω=ERRORS)
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
