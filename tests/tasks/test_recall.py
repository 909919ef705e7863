"""The distributions of the tasks in which symbols are to be repeated."""

import jax
import numpy as np
import pytest

from optax_ltd import tasks
from tests.tasks.draws import assert_fills, assert_independent, draw, one_hot

SIZES = {
    "memorization_5bit": (2, 5),
    "memorization_20bit": (5, 10),
    "copying": (8, 10),
}
LENGTHS = (1, 4)
each_task = pytest.mark.parametrize("name", SIZES)


@each_task
def test_symbols_come_first_then_blanks_then_the_cue(name):
    values, count = SIZES[name]
    batch = draw(name, LENGTHS)
    shortest, longest = LENGTHS
    assert_fills(batch.lengths - 2 * count, range(shortest, longest + 1))
    blank, cue = values, values + 1
    for length in range(shortest, longest + 1):
        steps = length + 2 * count
        rows = batch.lengths == steps
        inputs, targets = batch.inputs[rows, :steps], batch.targets[rows, :steps]
        np.testing.assert_array_equal(inputs.sum(-1), 1)
        symbols = inputs.argmax(-1)
        after = [blank] * (length - 1) + [cue] + [blank] * count
        np.testing.assert_array_equal(symbols[:, count:], [after] * len(symbols))
        np.testing.assert_array_equal(targets[:, : count + length], blank)
        np.testing.assert_array_equal(targets[:, count + length :], symbols[:, :count])


@each_task
def test_symbols_are_uniform_and_independent(name):
    values, count = SIZES[name]
    string = draw(name, LENGTHS).inputs.argmax(-1)[:, :count]
    for column in string.T:
        assert_fills(column, range(values))
    assert_independent(*string.T)


@each_task
def test_one_wrong_step_makes_a_sequence_wrong_but_not_beyond_its_end(name):
    values, _ = SIZES[name]
    task, batch = getattr(tasks, name)(LENGTHS), draw(name, LENGTHS)
    right = one_hot(batch.targets, values + 1)
    last = right.copy()
    last[:, -1] = np.roll(right[:, -1], 1, -1)
    ends = batch.lengths == task.time
    np.testing.assert_array_equal(jax.jit(task.is_wrong)(last, batch), ends)
    loss = jax.jit(task.loss)
    losses = loss(30 * last, batch), loss(30 * right, batch)
    np.testing.assert_allclose(losses[1], 0, atol=1e-6)
    share = ends.sum() / batch.lengths.sum()
    np.testing.assert_allclose(losses[0], 30 * share, rtol=1e-4)


def test_wrong_symbols_are_counted():
    task, batch = tasks.memorization_5bit(LENGTHS), draw("memorization_5bit", LENGTHS)
    blanks, zeros = (one_hot(np.full(batch.targets.shape, x), 3) for x in (2, 0))
    count = jax.jit(task.measures["symbols"])
    np.testing.assert_array_equal(count(blanks, batch), 5)
    # None beyond the end of a sequence.
    expected = ((batch.targets != 0) & batch.mask).sum(1)
    np.testing.assert_array_equal(count(zeros, batch), expected)
    np.testing.assert_array_equal(count(one_hot(batch.targets, 3), batch), 0)


def test_copying_without_memory_has_the_known_loss():
    batch, task = draw("copying", 20), tasks.copying(20)
    logits = np.where(np.arange(9) == 8, 30.0, 0.0) * np.ones((10_000, 40, 1))
    guess = np.where(np.arange(9) == 8, -30.0, 0.0)
    logits[:, -10:] = guess
    np.testing.assert_allclose(
        jax.jit(task.loss)(logits, batch), 10 * np.log(8) / 40, rtol=1e-5
    )
