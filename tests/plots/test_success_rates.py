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
    figure = plots.success_rates({"one": RATES, "other": {"clip": RATES["clip"]}})
    first: Any = figure.axes[0]
    second = figure.axes[1]
    assert [axes.get_title() for axes in figure.axes] == ["one", "other"]
    assert first.get_ylabel() == "seeds that solved it,\nat any test, %"
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


def test_success_rates_need_a_method():
    for panels in ({}, {"one": {}}):
        with pytest.raises(ValueError, match=r"at least one setting, each with .* got"):
            plots.success_rates(panels)
