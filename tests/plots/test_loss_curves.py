import numpy as np
import pytest

from optax_ltd import plots

LOSSES = np.array([[4.0, 5.0, 9.0], [3.0, 2.0, 1.0]])


def test_loss_curves_show_every_seed_and_their_median():
    figure = plots.loss_curves({"LSTM": ([0, 10], LOSSES)}, label="bits")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("updates", "bits")
    lines = [np.asarray(drawn.get_xydata()) for drawn in axes.lines]
    for seed in range(3):
        np.testing.assert_allclose(lines[seed][:, 1], LOSSES[:, seed])
    np.testing.assert_allclose(lines[3], [[0, 5], [10, 2]])
    assert [text.get_text() for text in axes.texts] == ["LSTM"]


def test_a_single_test_is_seen():
    for tests, seen in ((1, True), (2, False)):
        curves = {"LSTM": (np.arange(tests), LOSSES[:tests])}
        (axes,) = plots.loss_curves(curves).axes
        assert all((line.get_marker() == "d") == seen for line in axes.lines)


def test_loss_curves_may_leave_the_picture():
    (axes,) = plots.loss_curves({"LSTM": ([0, 10], LOSSES)}, top=4.5).axes
    assert axes.get_ylim()[1] == 4.5
    assert [text.get_text() for text in axes.texts] == ["LSTM"]


def test_loss_curves_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one method"):
        plots.loss_curves({})
    with pytest.raises(ValueError, match=r"^`curves\['a'\]` must be .*; got .*\(3,\)"):
        plots.loss_curves({"a": ([0, 1, 2], LOSSES[0])})
