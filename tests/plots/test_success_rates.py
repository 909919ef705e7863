from typing import Any

import numpy as np
import pytest

from optax_ltd import plots

RATES = {
    "clip": [plots.Rate(20, 1.0, 0.5, 1.0), plots.Rate(50, 0.2, 0.0, 0.75)],
    "Ω": [plots.Rate(20, 0.4, 0.1, 0.9)],
}


def bars(axes: Any) -> list[np.ndarray]:
    """The ends of all error bars, [bars, 2, 2], of each method."""
    segments = (container.lines[2][0].get_segments() for container in axes.containers)
    return [np.array(drawn) for drawn in segments]


def test_success_rates_show_each_share_with_its_interval():
    panels = {"one": RATES, "other": {"clip": RATES["clip"]}}
    figure = plots.success_rates(panels, label="solved, %")
    first: Any = figure.axes[0]
    second = figure.axes[1]
    assert [axes.get_title() for axes in figure.axes] == ["one", "other"]
    assert (first.get_ylabel(), second.get_ylabel()) == ("solved, %", "")
    assert second.get_xlim() == first.get_xlim()
    np.testing.assert_allclose(
        first.containers[0].lines[0].get_xydata()[:, 1], [100, 20]
    )
    ends = bars(first)
    np.testing.assert_allclose(ends[0][:, :, 1], [[50, 100], [0, 75]])
    np.testing.assert_allclose(ends[1][:, :, 1], [[10, 90]])
    assert list(first.get_xticks()) == [20, 50]
    # Side by side, around the length itself.
    assert ends[0][0, 0, 0] < 20 < ends[1][0, 0, 0]
    np.testing.assert_allclose(bars(second)[0][:, 0, 0], [20, 50])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["clip", "Ω"]


def test_a_method_has_one_colour_and_rows_have_four_panels():
    names = "abcde"
    panels = {name: {"clip": RATES["clip"]} for name in names}
    panels["a"] = {"Ω": RATES["Ω"], "clip": RATES["clip"]}
    figure = plots.success_rates(panels)
    every: Any = figure.axes
    assert [axes.get_title() for axes in figure.axes] == list(names)
    columns = [axes.get_subplotspec().colspan.start for axes in every]
    assert columns == [0, 1, 2, 3, 0]
    lines = [axes.containers[-1].lines[0] for axes in every]
    assert len({line.get_color() for line in lines}) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Ω", "clip"]


def test_eight_methods_have_a_colour_each_and_more_differ_in_their_marks():
    rates = [plots.Rate(20, 0.5, 0.0, 1.0)]
    figure = plots.success_rates({"": {f"{i}": rates for i in range(16)}})
    axes: Any = figure.axes[0]
    lines = [container.lines[0] for container in axes.containers]
    assert len({line.get_color() for line in lines[:8]}) == 8
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 16


def test_success_rates_need_a_method():
    for panels in ({}, {"one": {}}):
        with pytest.raises(
            ValueError, match=r"^`panels` must be .* setting, each with .*; got"
        ):
            plots.success_rates(panels)


@pytest.mark.parametrize("lengths", [(20, 50, 200), (50,)])
def test_marks_of_equal_shares_stand_apart(lengths):
    rates = [plots.Rate(length, 0.0, 0.0, 0.5) for length in lengths]
    methods = dict.fromkeys("abcd", rates)
    figure = plots.success_rates({"one": methods, "other": methods})
    figure.draw_without_rendering()
    axes: Any = figure.axes[0]
    marks = [container.lines[0] for container in axes.containers]
    at = np.array([mark.get_xdata() for mark in marks])
    # By more than half a mark, and none nearer to another length than to its own.
    left, right = (axes.transData.transform((x, 0))[0] for x in (0, 1))
    size = marks[0].get_markersize() * figure.dpi / 72
    assert (right - left) * np.diff(at, axis=0).min() > size / 2
    nearest = np.abs(at[..., None] - np.array(lengths)).argmin(-1)
    np.testing.assert_array_equal(nearest, [range(len(lengths))] * 4)
    assert len({mark.get_marker() for mark in marks}) == 4


def test_the_shares_are_read_at_the_left_and_named_by_default():
    figure = plots.success_rates({"one": RATES, "other": RATES})
    left, right = figure.axes
    assert left.get_ylabel() == "runs that succeeded, %"
    shown = [axes.yaxis.get_tick_params()["labelleft"] for axes in (left, right)]
    assert shown == [True, False]
