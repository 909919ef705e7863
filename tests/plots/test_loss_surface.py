from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from optax_ltd import plots

X, Y = np.linspace(-2, 2, 9), np.linspace(-1, 1, 5)
LOSSES = X**2 + 3 * Y[:, None] ** 2


def loss_of(points: np.ndarray) -> np.ndarray:
    return points[:, 0] ** 2 + 3 * points[:, 1] ** 2


def draw(**points: Any) -> Figure:
    paths = {k: (np.array(p, float), loss_of(np.array(p))) for k, p in points.items()}
    return plots.loss_surface(X, Y, LOSSES, paths)


def trace(axes: Any, index: int = 0) -> np.ndarray:
    """Points of a line in the landscape."""
    return np.stack(axes.lines[index].get_data_3d(), -1)


INSIDE = [(1.5, 0.5), (0.5, 0.25), (0, 0)]
THROWN = [(1.5, 0.5), (0.5, 0.0), (-5.5, 3.0), (-5.5, 3.0)]


def test_paths_lie_on_the_map_and_in_the_landscape():
    landscape, chart, _ = draw(sgd=INSIDE).axes
    np.testing.assert_array_equal(np.asarray(chart.lines[0].get_xydata()), INSIDE)
    points = np.array(INSIDE, float)
    ground = np.column_stack([points, loss_of(points)])
    drawn = trace(landscape)
    np.testing.assert_allclose(drawn[[0, 1, 4]], ground)
    assert np.isnan(drawn[[2, 5]]).all()


def test_the_map_shows_the_losses_and_the_grid_where_they_are():
    _, chart, bar = draw(sgd=INSIDE).axes
    assert (chart.get_xlim(), chart.get_ylim()) == ((-2, 2), (-1, 1))
    assert bar.get_ylabel() == "loss"
    assert bar.get_ylim() == (0, pytest.approx(LOSSES.max(), rel=0.1))
    levels = chart.collections[0]
    # Darker where the loss is higher.
    low, high = levels.to_rgba(np.array([0.1, 6.9])).mean(-1)
    assert low > high


def test_a_path_is_cut_where_it_leaves_the_landscape():
    landscape, *_ = draw(sgd=THROWN).axes
    # From (0.5, 0) by (-6, 3), which meets y = 1 first, after a third of the way.
    end = trace(landscape)[4]
    share, before, after = 1 / 3, 0.25, 5.5**2 + 3 * 9
    np.testing.assert_allclose(end[:2], [-1.5, 1])
    np.testing.assert_allclose(end[2], before + share * (after - before))
    assert len(trace(landscape)) == 6  # two updates, a gap after each


def test_where_a_path_leaves_is_told_once():
    back = [*THROWN, (0.0, 0.0), (0.0, -9.0)]
    _, chart, _ = draw(plain=back, clipped=INSIDE).axes
    told: Any = [text for text in chart.texts if text.get_text()]
    assert [text.get_text() for text in told] == ["update 2\nto (-5.5, 3)"]
    assert told[0].get_color() == chart.lines[0].get_color()
    np.testing.assert_allclose(told[0].xy, [-1.5, 1])


def test_a_path_that_passes_over_the_picture_is_drawn():
    landscape, chart, _ = draw(sgd=[(-4.0, 0.5), (4.0, 0.5)]).axes
    np.testing.assert_allclose(trace(landscape)[:2, :2], [(-2, 0.5), (2, 0.5)])
    assert "update 1\nto (4, 0.5)" in [text.get_text() for text in chart.texts]


def test_a_loss_that_is_not_finite_has_no_height(tmp_path):
    points = np.array(THROWN, float)
    paths = {"sgd": (points, np.array([1.0, 2.0, np.inf, np.nan]))}
    figure = plots.loss_surface(X, Y, LOSSES, paths)
    assert np.isfinite(trace(figure.axes[0])[:2]).all()
    assert "update 2\nto (-5.5, 3)" in [t.get_text() for t in figure.axes[1].texts]
    figure.savefig(tmp_path / "picture.png", dpi=20)


def test_a_path_along_the_edge_is_drawn():
    landscape, *_ = draw(sgd=[(-2.0, 0.5), (-2.0, -3.0)]).axes
    np.testing.assert_allclose(trace(landscape)[:2, :2], [(-2, 0.5), (-2, -1)])


@pytest.mark.parametrize("end", [np.nan, np.inf])
def test_a_path_ends_where_it_is_no_longer_finite(end, tmp_path):
    figure = draw(sgd=[*INSIDE, (end, 0.0), (end, end)])
    assert len(trace(figure.axes[0])) == 6
    figure.savefig(tmp_path / "picture.png", dpi=20)


def test_labels_and_colors():
    figure = draw(plain=THROWN, clipped=INSIDE)
    for axes in figure.axes[:2]:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("w", "b")
    landscape: Any = figure.axes[0]
    assert landscape.get_zlabel() == "loss"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["plain", "clipped"]
    plain, clipped = figure.axes[1].lines[:2]
    assert plain.get_color() != clipped.get_color()
    # Where they run together, both are seen.
    assert plain.get_linewidth() > 2 * clipped.get_linewidth()
    named = plots.loss_surface(X, Y, LOSSES, {}, names=("rate", "scale"))
    assert named.axes[1].get_xlabel() == "rate"
    assert not named.legends


def test_marks_are_where_paths_begin_and_end():
    _, chart, _ = draw(sgd=INSIDE).axes
    end, start = (np.asarray(line.get_xydata())[0] for line in chart.lines[1:])
    np.testing.assert_array_equal(start, INSIDE[0])
    np.testing.assert_array_equal(end, INSIDE[-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[::-1]}, "^`x` must be .* rising"),
        ({"y": Y[:1]}, "^`y` must be .* at least two values"),
        ({"x": LOSSES}, r"^`x` must be \[N\].*; got shape \(5, 9\)"),
        ({"losses": LOSSES.T}, r"^`losses` must be \[5, 9\].*; got shape \(9, 5\)"),
        (
            {"paths": {"a": ([(0, 0)], [1, 2])}},
            r"^`paths\['a'\]` .*; got .* \(1, 2\) and \(2,\)",
        ),
        (
            {"paths": {"a": (np.zeros((0, 2)), [])}},
            r"^`paths\['a'\]` .*; got .* \(0, 2\)",
        ),
        (
            {"paths": {"a": (np.zeros((2, 3)), [0, 0])}},
            r"^`paths\['a'\]` .*; got .* \(2, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given: dict[str, Any] = {"x": X, "y": Y, "losses": LOSSES, "paths": {}}
    with pytest.raises(ValueError, match=message):
        plots.loss_surface(**(given | change))
