"""The distributions of the temporal order tasks."""

import numpy as np
import pytest

from optax_ltd import tasks
from tests.tasks.draws import (
    assert_fills,
    assert_independent,
    assert_uniform,
    draw,
    sample,
)

RANGE = (10, 50)


def _ordered(batch: tasks.Batch, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and symbols of the ordered ones, [batch, count], in the order of time."""
    symbols = np.where(batch.inputs.any(-1), batch.inputs.argmax(-1), -1)
    is_ordered = (symbols == 0) | (symbols == 1)
    np.testing.assert_array_equal(is_ordered.sum(1), count)
    places = np.nonzero(is_ordered)[1].reshape(-1, count)
    return places, symbols[is_ordered].reshape(-1, count)


@pytest.mark.parametrize(
    ("name", "length", "ranges"),
    [
        ("temporal_order", 10, [{1}, {5}]),
        # 1.1 <= p < 2.2 and 5.5 <= p < 6.6
        ("temporal_order", 11, [{2}, {6}]),
        # 1.7 <= p < 3.4 and 8.5 <= p < 10.2
        ("temporal_order", 17, [{2, 3}, {9, 10}]),
        ("temporal_order", 50, [range(5, 10), range(25, 30)]),
        # 1.7 <= p < 3.4, 5.1 <= p < 6.8 and 10.2 <= p < 11.9
        ("temporal_order_3bit", 17, [{2, 3}, {6}, {11}]),
        ("temporal_order_3bit", 50, [range(5, 10), range(15, 20), range(30, 35)]),
    ],
)
def test_positions_fill_their_ranges_and_no_more(name, length, ranges):
    batch = draw(name, RANGE)
    places, _ = _ordered(batch, len(ranges))
    for column, allowed in zip(places[batch.lengths == length].T, ranges, strict=True):
        assert_fills(column, allowed)


@pytest.mark.parametrize(
    ("name", "count"), [("temporal_order", 2), ("temporal_order_3bit", 3)]
)
def test_the_target_tells_the_symbols_in_their_order(name, count):
    batch = draw(name, RANGE)
    _, symbols = _ordered(batch, count)
    np.testing.assert_array_equal(batch.targets, symbols @ 2 ** np.arange(count))
    assert_uniform(np.bincount(batch.targets, minlength=2**count))


def test_inputs_are_one_hot_and_distractors_uniform():
    inputs = draw("temporal_order", 50).inputs
    assert set(np.unique(inputs)) == {0.0, 1.0}
    np.testing.assert_array_equal(inputs.sum(-1), 1)
    counts = inputs.sum((0, 1))[2:]
    assert_uniform(counts)
    assert counts.sum() == 48 * len(inputs)


def test_draws_are_independent_of_one_another():
    batch = draw("temporal_order", 50)
    places, symbols = _ordered(batch, 2)
    assert_independent(*places.T, *symbols.T, *batch.inputs.argmax(-1)[:, :5].T)


def test_positions_follow_the_length_of_each_sequence():
    batch = draw("temporal_order", RANGE)
    places, _ = _ordered(batch, 2)
    for column, tenth in zip(places.T, (1, 5), strict=True):
        assert np.all(10 * column >= tenth * batch.lengths)
        assert np.all(10 * column < (tenth + 1) * batch.lengths)
    assert_fills(batch.lengths, range(10, 51))


def test_a_known_batch_in_letters():
    batch = sample(tasks.temporal_order(10), 2)
    symbols = ["".join("ABcdef"[i] for i in row) for row in batch.inputs.argmax(-1)]
    assert symbols == ["fAcfdBcecf", "eAfccAddcd"]
    np.testing.assert_array_equal(batch.targets, [2, 0])


def test_the_task_states_its_criterion():
    task = tasks.temporal_order(30)
    assert task.name == "temporal order"
    assert (task.chance_error, task.solved_below, task.test_size) == (
        0.75,
        0.01,
        10_000,
    )
    assert tasks.temporal_order_3bit(30).chance_error == 0.875


def test_lengths_below_ten_have_no_tenth():
    for maker in (tasks.temporal_order, tasks.temporal_order_3bit):
        with pytest.raises(ValueError, match=r"^`length` must be an int >= 10"):
            maker(9)
