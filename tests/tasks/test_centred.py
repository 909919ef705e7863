"""Tasks with the means of their inputs and targets taken away."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd import tasks
from tests.slow import slow_but
from tests.tasks.draws import COUNT, MAKERS, draw, sample

WITHOUT = {"random_permutation", "text"}  # some of whose classes are never the answer
NAMES = sorted({*MAKERS} - WITHOUT)
FAST = {"addition", "multiplication", "memorization_5bit", "temporal_order"}
LENGTHS = (10, 14)
each_task = pytest.mark.parametrize("name", slow_but(FAST, NAMES))


@functools.cache
def centred(name: str) -> tuple[tasks.Task, tasks.Batch]:
    task = tasks.centred(MAKERS[name](LENGTHS))
    return task, sample(task, COUNT)


def assert_mean_is_zero(values: Any) -> None:
    """Means over axis 0 within five standard errors, or what rounding leaves."""
    error = values.std(0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(0)) <= 5 * error + 1e-5)


# By hand, of sequences of ten steps; a string adds ten. Of classes the frequencies.
KNOWN = {
    "addition": ((0.2, 0.5), (0.5,)),
    "adding": ((0.2, 0.5), (1,)),
    "multiplication": ((0.2, 0.5), (0.25,)),
    "xor": ((0.2, 0.5), (0.5, 0.5)),
    "temporal_order": ((0.1, 0.1, 0.2, 0.2, 0.2, 0.2), 4 * (0.25,)),
    "temporal_order_3bit": ((0.15, 0.15, *4 * (0.175,)), 8 * (0.125,)),
    "memorization_5bit": ((0.125, 0.125, 0.7, 0.05), (0.125, 0.125, 0.75)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_means_of_short_sequences(name: str):
    task = MAKERS[name](10)
    assert task.means is not None
    inputs, outputs = KNOWN[name]
    np.testing.assert_allclose(task.means.inputs, inputs)
    answer = task.means.outputs if task.output_size == 1 else np.exp(task.means.outputs)
    np.testing.assert_allclose(answer, outputs)


@each_task
def test_inputs_have_mean_zero_at_the_steps_of_a_sequence(name: str):
    _, batch = centred(name)
    # Their sums, as steps of one sequence are no independent draws.
    assert_mean_is_zero(batch.inputs.sum(1, dtype=np.float64))
    raw = draw(name, LENGTHS)
    assert raw.inputs.sum(1).mean(0).min() > 0.05  # where none of them was zero


@each_task
def test_nothing_else_of_a_batch_changes(name: str):
    _, batch = centred(name)
    raw = draw(name, LENGTHS)
    for made, before in zip(batch[1:], raw[1:], strict=True):
        np.testing.assert_array_equal(made, before)
    inside = np.arange(raw.inputs.shape[1]) < raw.lengths[:, None]
    taken = (raw.inputs - batch.inputs)[inside]
    assert not batch.inputs[~inside].any()
    np.testing.assert_allclose(taken, np.broadcast_to(taken[0], taken.shape), atol=1e-6)
    assert batch.inputs.dtype == np.float32


@each_task
def test_no_constant_answer_is_better_than_zero(name: str):
    """The loss of each half of the batch has a slope of its own: the error of both."""
    task, batch = centred(name)
    every = (task.time,) if task.readout == "every" else ()

    @jax.jit
    def slope(part: Any) -> Any:
        def loss(constant: Any) -> Any:
            outputs = jnp.broadcast_to(constant, (100, *every, task.output_size))
            return task.loss(outputs, part)

        return jax.grad(loss)(jnp.zeros(task.output_size))

    parts = jax.tree.map(lambda leaf: leaf.reshape(100, 100, *leaf.shape[1:]), batch)
    slopes = jax.lax.map(slope, parts)
    assert_mean_is_zero(np.asarray(slopes, np.float64))


@each_task
def test_the_verdict_on_an_answer_is_that_of_the_task(name: str):
    """What is put out is counted from the mean answer."""
    task, batch = centred(name)
    bare = MAKERS[name](LENGTHS)
    assert bare.means is not None
    shape = (COUNT, task.time, task.output_size)
    outputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    outputs = outputs if task.readout == "every" else 0.3 * outputs[:, 0]
    whole = outputs + np.array(bare.means.outputs, np.float32)
    wrong = jax.jit(task.is_wrong)(outputs, batch)
    np.testing.assert_array_equal(wrong, jax.jit(bare.is_wrong)(whole, batch))
    np.testing.assert_allclose(
        jax.jit(task.loss)(outputs, batch), jax.jit(bare.loss)(whole, batch), rtol=1e-6
    )
    assert task.chance_error == bare.chance_error


def test_the_means_of_another_length_may_be_taken():
    name, other = "memorization_5bit", tasks.memorization_5bit(20)
    assert other.means is not None
    task = tasks.centred(MAKERS[name](LENGTHS), by=other)
    taken = (draw(name, LENGTHS).inputs - sample(task, COUNT).inputs)[:, 0]
    expected = np.broadcast_to(other.means.inputs, taken.shape)
    np.testing.assert_allclose(taken, expected, atol=1e-6)
    own = MAKERS[name](LENGTHS).means
    assert own is not None
    assert task.means is not None
    for left, before, by in zip(task.means, own, other.means, strict=True):
        np.testing.assert_allclose(left, np.subtract(before, by))


def test_what_is_centred_stays_as_it_is():
    task, batch = centred("addition")
    assert task.means == ((0, 0), (0,))
    again = sample(tasks.centred(task), COUNT)
    np.testing.assert_array_equal(again.inputs, batch.inputs)


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_a_task_without_known_means_is_named(name: str):
    task = MAKERS[name](length=12)
    for given in ({"task": task}, {"task": tasks.addition(12), "by": task}):
        argument = "by" if "by" in given else "task"
        message = (
            rf"^`{argument}` must be a task whose means are known; got '{task.name}'"
        )
        with pytest.raises(ValueError, match=message):
            tasks.centred(**given)


def test_means_of_another_kind_of_task_are_named():
    """Also where these have as many inputs and outputs."""
    for other in (tasks.xor(12), tasks.multiplication(12)):
        message = f"^`by` must be a task of the same kind, addition; got '{other.name}'"
        with pytest.raises(ValueError, match=message):
            tasks.centred(tasks.addition(12), by=other)
