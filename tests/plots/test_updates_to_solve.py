from typing import Any

import numpy as np
import pytest

from optax_ltd import plots
from tests.plots.drawn import line, texts

RUNS = {"SGD": ([900, None, None], 2000), "clip": ([400, 100, 300], 400)}


def labels(axes: Any) -> dict[str, float]:
    """The height of each row by its label."""
    names = [text.get_text() for text in axes.get_yticklabels()]
    return dict(zip(names, axes.get_yticks(), strict=True))


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_seed_is_a_dot_where_it_solved_or_a_hollow_mark_at_the_end():
    figure = plots.updates_to_solve({"": RUNS})
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "updates")
    solved, unsolved = axes.lines
    np.testing.assert_array_equal(line(axes)[:, 0], [900, 400, 100, 300])
    np.testing.assert_array_equal(line(axes, 1)[:, 0], [2000, 2000])
    assert solved.get_markerfacecolor() == solved.get_color()
    assert unsolved.get_markerfacecolor() == "white" != unsolved.get_color()
    assert legend(figure) == ["solved", "not solved by the last update"]


def test_rows_run_down_in_order_with_headings_above_their_group():
    groups = {"search": RUNS, "fresh": {"clip": RUNS["clip"]}, "": {"bare": ([7], 7)}}
    figure = plots.updates_to_solve(groups)
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["SGD", "clip", "clip", "bare"]
    rows = axes.get_yticks()
    assert axes.yaxis_inverted()
    # A row on, then room for a heading, then a gap alone.
    assert rows[1] - rows[0] == 1 < rows[3] - rows[2] < rows[2] - rows[1]
    assert texts(figure) == ["search", "fresh", ""]
    heights = [text.get_position()[1] for text in axes.texts]
    assert heights[0] < rows[0]
    assert rows[1] < heights[1] < rows[2]
    low, high = sorted(axes.get_ylim())
    assert low < heights[0] < rows[3] < high


@pytest.mark.parametrize("seeds", [1, 2, 5, 30])
def test_marks_of_equal_updates_lie_above_each_other(seeds: int):
    runs = {"all": ([300] * seeds, 1000), "none": ([None] * seeds, 1000)}
    figure = plots.updates_to_solve({"": runs})
    (axes,) = figure.axes
    rows = labels(axes)
    for index, name in enumerate(runs):
        heights = line(axes, index)[:, 1]
        assert len(set(heights)) == seeds
        np.testing.assert_allclose(heights.mean(), rows[name], atol=1e-9)
        assert np.ptp(heights) < 0.75  # of the way to the next row
    figure.draw_without_rendering()
    if 1 < seeds <= 5:
        step = np.diff(np.sort(line(axes)[:, 1])).min()
        bottom, top = (axes.transData.transform((300, y))[1] for y in (step, 0.0))
        size = axes.lines[0].get_markersize() * figure.dpi / 72
        assert top - bottom > 0.8 * size


def test_marks_stand_on_their_row_where_nothing_hides_them():
    (axes,) = plots.updates_to_solve({"": {"clip": ([100, 1000, 1001], 2000)}}).axes
    heights = line(axes)[:, 1] - axes.get_yticks()[0]
    assert heights[0] == 0
    assert heights[1] == -heights[2] != 0


def test_equal_pictures_come_of_equal_updates():
    first, second = (plots.updates_to_solve({"": RUNS}).axes[0] for _ in range(2))
    for index in range(2):
        np.testing.assert_array_equal(line(first, index), line(second, index))


@pytest.mark.parametrize(
    ("solved_at", "last", "ticks"),
    [
        ([6000, 7000], 9000, ["6,000", "7,000", "8,000", "9,000"]),
        ([5000, None], 30000, ["5,000", "7,000", "10,000", "20,000", "30,000"]),
        ([5000, None], 60000, ["5,000", "10,000", "20,000", "50,000"]),
        ([10, None], 10**6, ["10", "100", "1,000", "10,000", "100,000", "1,000,000"]),
        ([10], 10, ["10"]),
    ],
)
def test_ticks_are_at_round_numbers(solved_at, last, ticks):
    figure = plots.updates_to_solve({"": {"a": (solved_at, last), "b": ([last], last)}})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    shown = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    assert [text.get_text() for at, text in shown if low <= at <= high] == ticks


def test_the_legend_has_what_is_shown():
    assert legend(plots.updates_to_solve({"": {"clip": ([5], 5)}})) == ["solved"]
    (none,) = legend(plots.updates_to_solve({"": {"SGD": ([None], 5)}}))
    assert none.startswith("not solved")


def test_there_must_be_a_run():
    for groups in ({}, {"search": {}}, {"search": RUNS, "fresh": {}}):
        with pytest.raises(
            ValueError, match=r"^`groups` must be .* group, each with .*; got"
        ):
            plots.updates_to_solve(groups)


@pytest.mark.parametrize(
    ("solved_at", "last"), [([], 10), ([0], 10), ([None], 0), ([3, 11], 10)]
)
def test_updates_that_make_no_sense_are_refused(solved_at: list[int], last: int):
    told = rf"^`groups\['T'\]\['SGD'\]` must be .*; got \[.*\] and {last}\."
    with pytest.raises(ValueError, match=told):
        plots.updates_to_solve({"T": {"SGD": (solved_at, last)}})


def test_it_can_be_written_without_a_display(tmp_path):
    figure = plots.updates_to_solve({"Ω": RUNS})
    figure.savefig(tmp_path / "picture.png", dpi=20)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
