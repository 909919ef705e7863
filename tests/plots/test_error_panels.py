from typing import Any

import numpy as np
import pytest

from optax_ltd import plots
from tests.plots.drawn import line

AT = [0.1, 1, 10]
ERRORS = np.array([[0.75, 0.74, 0.7], [0.5, 0.005, 0.6], [0.004, 0.002, 0.5]])
PANELS = {
    "xor": {"clip": (AT, ERRORS), "Ω": ([5.0], ERRORS[:1])},
    "addition": {"Ω": (AT, ERRORS)},
}


def test_each_seed_is_a_line_and_their_median_ends_in_a_mark():
    figure = plots.error_panels(PANELS, x_label="hours")
    first: Any = figure.axes[0]
    assert (first.get_xscale(), first.get_xlabel()) == ("log", "hours")
    for seed in range(3):
        expected = np.stack([AT, 100 * ERRORS[:, seed]], 1)
        np.testing.assert_allclose(line(first, seed), expected)
    np.testing.assert_allclose(line(first, 3)[:, 1], [74, 50, 0.4])
    assert first.lines[3].get_markevery() == [2]
    figure.draw_without_rendering()
    ticks = {text.get_text() for text in first.get_xticklabels()}
    assert {"0.1", "1", "10"} <= ticks


def test_a_nan_is_not_drawn_and_counts_as_wrong():
    errors = np.array([[0.5, np.nan, 0.3], [0.1, np.nan, np.nan]])
    (axes,) = plots.error_panels({"xor": {"clip": ([1, 2], errors)}}, x_label="T").axes
    assert np.isnan(line(axes, 1)[:, 1]).all()
    np.testing.assert_allclose(line(axes, 3)[:, 1], [50, 100])


def test_panels_share_axes_and_a_method_has_one_look():
    figure = plots.error_panels(PANELS, x_label="minutes")
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["xor", "addition"]
    assert first.get_xlim() == second.get_xlim()
    looks = [
        (x.get_color(), x.get_marker()) for x in (first.lines[-1], second.lines[-1])
    ]
    assert looks[0] == looks[1] != (first.lines[3].get_color(), "o")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["clip", "Ω"]


@pytest.mark.parametrize(
    ("at", "errors"),
    [
        ([0, 1, 2], ERRORS),
        ([1, 1, 2], ERRORS),
        ([3, 2, 1], ERRORS),
        ([1, np.nan, 2], ERRORS),
        ([1, 2], ERRORS),
        ([1, 2, 3], ERRORS[:, 0]),
        ([], ERRORS[:0]),
    ],
)
def test_tests_and_errors_fit_together(at: Any, errors: Any):
    message = r"^`panels\['xor'\]\['Ω'\]` must be ascending x > 0 .*; got"
    with pytest.raises(ValueError, match=message):
        plots.error_panels({"xor": {"Ω": (at, errors)}}, x_label="minutes")


def test_there_is_something_to_draw():
    for panels in ({}, {"one": {}}):
        with pytest.raises(ValueError, match=r"^`panels` must be at least one setting"):
            plots.error_panels(panels, x_label="minutes")
