"""The distributions of the tasks in which symbols are to be repeated."""

import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd import tasks
from tests.tasks.draws import assert_fills, assert_independent, draw

SIZES = {
    "memorization_5bit": (2, 5),
    "memorization_20bit": (5, 10),
    "copying": (8, 10),
}
each_task = pytest.mark.parametrize("name", SIZES)


@each_task
@pytest.mark.parametrize("length", [1, 7])
def test_symbols_come_first_then_blanks_then_the_cue(name, length):
    values, count = SIZES[name]
    batch = draw(name, length)
    symbols = batch.inputs.argmax(-1)
    np.testing.assert_array_equal(batch.inputs.sum(-1), 1)
    blank, cue = values, values + 1
    after = [blank] * (length - 1) + [cue] + [blank] * count
    np.testing.assert_array_equal(symbols[:, count:], np.tile(after, (10_000, 1)))
    np.testing.assert_array_equal(batch.targets[:, : count + length], blank)
    np.testing.assert_array_equal(
        batch.targets[:, count + length :], symbols[:, :count]
    )


@each_task
def test_symbols_are_uniform_and_independent(name):
    values, count = SIZES[name]
    string = draw(name, 7).inputs.argmax(-1)[:, :count]
    for column in string.T:
        assert_fills(column, range(values))
    assert_independent(*string.T)


@each_task
def test_a_shorter_sequence_ends_earlier(name):
    values, count = SIZES[name]
    batch = draw(name, (3, 6))
    assert_fills(batch.lengths, range(3 + 2 * count, 7 + 2 * count))
    for steps in np.unique(batch.lengths):
        rows = batch.lengths == steps
        symbols = batch.inputs[rows].argmax(-1)
        np.testing.assert_array_equal(symbols[:, steps - count - 1], values + 1)
        repeated = batch.targets[rows][:, steps - count : steps]
        np.testing.assert_array_equal(repeated, symbols[:, :count])


@each_task
def test_one_wrong_step_makes_a_sequence_wrong_but_not_beyond_its_end(name):
    values, _ = SIZES[name]
    task, batch = getattr(tasks, name)((3, 6)), draw(name, (3, 6))
    right = jnp.asarray(np.eye(values + 1, dtype=np.float32)[batch.targets])
    other = jnp.roll(right, 1, -1)
    last = right.at[:, -1].set(other[:, -1])
    ends = batch.lengths == task.time
    np.testing.assert_array_equal(task.is_wrong(last, batch), ends)
    losses = task.loss(30 * last, batch), task.loss(30 * right, batch)
    np.testing.assert_allclose(losses[1], 0, atol=1e-6)
    share = ends.sum() / batch.lengths.sum()
    np.testing.assert_allclose(losses[0], 30 * share, rtol=1e-4)


def test_copying_without_memory_has_the_known_loss():
    batch, task = draw("copying", 20), tasks.copying(20)
    logits = np.where(np.arange(9) == 8, 30.0, 0.0) * np.ones((10_000, 40, 1))
    guess = np.where(np.arange(9) == 8, -30.0, 0.0)
    logits[:, -10:] = guess
    np.testing.assert_allclose(
        task.loss(jnp.asarray(logits), batch), 10 * np.log(8) / 40, rtol=1e-5
    )
