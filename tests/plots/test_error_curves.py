import numpy as np
import pytest
from matplotlib.figure import Figure

from optax_ltd import plots
from tests.plots.drawn import line, texts

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
    (axes,) = curves(sgd=ERRORS[[0, 0]]).axes
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
    with pytest.raises(
        ValueError, match=r"^`curves\['sgd'\]` must be .*; got .*\(3,\)"
    ):
        curves(sgd=ERRORS[:, 0])


def test_it_can_be_written_without_a_display(tmp_path):
    figure = curves(Ω=ERRORS)
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_curves_that_end_in_nan_are_named_where_they_were_last_seen():
    lost = np.array([[0.75], [0.5], [np.nan]])
    figure = curves(sgd=lost, none=np.full((3, 1), np.nan), clip=ERRORS)
    assert texts(figure)[2:] == ["sgd", "none", "clip"]
    heights = [text.get_position()[1] for text in figure.axes[0].texts[2:]]
    assert np.isfinite(heights).all()
    assert heights[0] > heights[2]
