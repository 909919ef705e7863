"""The distributions of the tasks about two marked numbers."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd import tasks
from tests.tasks.draws import assert_fills, assert_independent, assert_uniform, draw

ANSWERS = {
    "addition": lambda a, b: (a + b) / 2,
    "multiplication": lambda a, b: a * b,
    "xor": lambda a, b: a != b,
    "adding": lambda a, b: a + b,
}
LENGTH = 41  # odd, so that the halves differ
each_task = pytest.mark.parametrize("name", ANSWERS)


def _marked(batch: tasks.Batch) -> tuple[Any, Any]:
    """Places and numbers of the marked ones, [batch, 2], in the order of time."""
    marks, numbers = batch.inputs[..., 0], batch.inputs[..., 1]
    np.testing.assert_array_equal(marks.sum(1), 2)
    assert set(np.unique(marks)) == {0.0, 1.0}
    return np.nonzero(marks)[1].reshape(-1, 2), numbers[marks == 1].reshape(-1, 2)


@each_task
def test_the_target_is_the_answer(name):
    batch = draw(name, LENGTH)
    _, numbers = _marked(batch)
    np.testing.assert_allclose(batch.targets, ANSWERS[name](*numbers.T), atol=1e-7)


@pytest.mark.parametrize("name", ["addition", "multiplication", "xor"])
def test_steps_and_positions_fill_their_ranges(name):
    batch = draw(name, LENGTH)
    assert_fills(batch.lengths, range(41, 46))
    places, _ = _marked(batch)
    for steps in range(41, 46):
        first, second = places[batch.lengths == steps].T
        early, late = -(-steps // 10), -(-steps // 2)
        assert_fills(first, range(early))
        assert_fills(second, range(early, late))


def test_adding_marks_one_number_in_each_half():
    batch = draw("adding", LENGTH)
    places, _ = _marked(batch)
    assert_fills(places[:, 0], range(20))
    assert_fills(places[:, 1], range(20, 41))
    np.testing.assert_allclose(np.mean((batch.targets - 1) ** 2), 1 / 6, atol=0.01)


@pytest.mark.parametrize("name", ["addition", "multiplication", "adding"])
def test_numbers_are_uniform(name):
    batch = draw(name, LENGTH)
    inside = np.arange(batch.inputs.shape[1]) < batch.lengths[:, None]
    numbers = batch.inputs[..., 1][inside]
    assert_uniform(np.histogram(numbers, bins=20, range=(0, 1))[0])


def test_bits_are_fair():
    batch = draw("xor", LENGTH)
    _, numbers = _marked(batch)
    assert set(np.unique(numbers)) == {0.0, 1.0}
    assert_uniform(np.bincount((numbers @ [1, 2]).astype(int), minlength=4))


@each_task
def test_draws_are_independent_of_one_another(name):
    places, numbers = _marked(draw(name, LENGTH))
    columns = (
        [*places.T, *numbers.T] if name == "adding" else [places[:, 0], *numbers.T]
    )
    assert_independent(*columns)


@pytest.mark.parametrize("name", ["addition", "multiplication", "adding"])
def test_criteria_differ_in_how_far_off_is_wrong(name):
    batch = draw(name, LENGTH)
    off = {0.03: (False, False), 0.05: (True, False), 0.21: (True, True)}
    for distance, expected in off.items():
        outputs = batch.targets[:, None] + np.float32(distance)
        for criterion, wrong in zip(("absolute", "squared"), expected, strict=True):
            task = getattr(tasks, name)(LENGTH, criterion=criterion)
            assert set(np.asarray(task.is_wrong(outputs, batch))) == {wrong}
            measured = np.asarray(task.measures[criterion](outputs, batch))
            assert (set(measured), measured.dtype) == ({float(wrong)}, np.float32)
            np.testing.assert_allclose(
                task.loss(outputs, batch), distance**2, rtol=1e-4
            )


@pytest.mark.parametrize("criterion", ["squared", "absolute"])
def test_what_is_no_number_is_wrong(criterion: Any):
    batch = draw("addition", LENGTH)
    outputs = jnp.resize(jnp.array([jnp.nan, jnp.inf]), (len(batch.targets), 1))
    assert tasks.addition(LENGTH, criterion=criterion).is_wrong(outputs, batch).all()


def test_chance_errors_of_the_strict_criterion():
    def chance(maker, best):
        batch = draw(maker.__name__, LENGTH)
        wrong = maker(LENGTH, criterion="absolute").is_wrong
        return np.mean(wrong(np.full((10_000, 1), best, np.float32), batch))

    for maker, best in ((tasks.addition, 0.5), (tasks.multiplication, 0.04)):
        expected = maker(LENGTH, criterion="absolute").chance_error
        np.testing.assert_allclose(chance(maker, best), expected, atol=0.025)
