import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from optax_ltd import plots
from optax_ltd._recurrent.report import GradientFlow, LayerFlow

T, B = 12, 9
RNG = np.random.default_rng(0)


def report(decay: float, *names: str, inactive: int = 0) -> GradientFlow:
    """A signal that shrinks by a factor a step, gone at the first few."""
    lag = np.arange(T)[::-1, None]
    norms = decay**lag * RNG.uniform(0.5, 1.5, (T, B))
    gains = decay * RNG.uniform(0.9, 1.1, (T, B))
    active = np.broadcast_to(np.arange(T)[:, None] >= inactive, (T, B))
    layer = LayerFlow(
        error_norms=jnp.array(np.where(active, norms, 0)),
        gains=jnp.array(np.where(active, gains, 1)),
        active=jnp.array(active),
        clipped=jnp.zeros((T, B), bool),
        omega=jnp.float32(0),
    )
    return GradientFlow(loss=jnp.float32(1), layers=dict.fromkeys(names, layer))


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
    dots = [line(axes, i) for i in (4, 5, 6)]
    np.testing.assert_allclose(dots[0], [[30, 0.4]])
    np.testing.assert_allclose(dots[1], [[20, 0.5]])
    assert len(dots[2]) == 0


def test_error_curves_name_methods_and_levels():
    figure = curves(sgd=ERRORS, clip=ERRORS[:2])
    assert texts(figure) == ["chance 75 %", "solved, below 1 %", "sgd", "clip"]


def test_labels_of_equal_curves_do_not_overlap():
    figure = curves(a=ERRORS, b=ERRORS, c=ERRORS, d=ERRORS)
    heights = sorted(text.get_position()[1] for text in figure.axes[0].texts[2:])
    assert np.diff(heights).min() > 0.07


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
