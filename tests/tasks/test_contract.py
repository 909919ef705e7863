"""What holds for every task."""

import zlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd import tasks
from tests.tasks.draws import COUNT, MAKERS, SEQUENCE_MAKERS, draw

each_task = pytest.mark.parametrize("name", MAKERS)
each_sequence_task = pytest.mark.parametrize("name", SEQUENCE_MAKERS)


@each_task
def test_shapes_are_those_that_the_task_states(name):
    task, batch = MAKERS[name](length=12), draw(name, 12)
    assert batch.inputs.shape == (COUNT, task.time, task.input_size)
    assert batch.inputs.dtype == np.float32
    assert batch.lengths.shape == (COUNT,)
    assert batch.lengths.dtype == np.int32
    assert batch.mask.shape == (COUNT, task.time)
    every = (task.time,) if task.readout == "every" else ()
    assert batch.targets.shape == (COUNT, *every)
    assert batch.targets.dtype == (np.float32 if task.output_size == 1 else np.int32)
    assert task.length == 12


@each_sequence_task
def test_each_sequence_draws_its_own_length(name):
    task, batch = MAKERS[name](length=(10, 14)), draw(name, (10, 14))
    assert task.length == (10, 14)
    assert batch.lengths.max() == task.time == MAKERS[name](length=14).time
    longest_of_shortest = MAKERS[name](length=10).time
    assert 10 <= batch.lengths.min() <= longest_of_shortest
    assert np.unique(batch.lengths).size == task.time - batch.lengths.min() + 1
    steps = np.arange(task.time)
    beyond = steps >= batch.lengths[:, None]
    assert beyond.any()
    assert not batch.inputs[beyond].any()
    if task.readout == "every":
        np.testing.assert_array_equal(batch.mask, ~beyond)
    else:
        np.testing.assert_array_equal(batch.mask, steps == batch.lengths[:, None] - 1)


@each_task
def test_the_same_key_gives_the_same_batch_everywhere(name):
    sample = jax.jit(MAKERS[name](length=11).sample, static_argnums=1)
    keys = jax.random.split(jax.random.key(3), 2)
    mapped = jax.vmap(lambda key: sample(key, 4))(keys)
    with jax.enable_x64(True):
        wide = sample(keys[1], 4)
    second = jax.tree.map(lambda leaf: leaf[1], mapped)
    chex.assert_trees_all_equal(wide, second, strict=True)
    assert (mapped.inputs[0] != mapped.inputs[1]).any()


PINNED = {
    "adding": 3745545291,
    "addition": 2127484318,
    "copying": 761957945,
    "memorization_5bit": 1485169812,
    "memorization_20bit": 3950628348,
    "multiplication": 4170746741,
    "random_permutation": 758722265,
    "temporal_order": 953599627,
    "temporal_order_3bit": 1700981385,
    "xor": 4131751922,
}


@each_sequence_task
def test_a_known_batch_stays_the_same_on_every_platform(name):
    batch = MAKERS[name](length=(10, 20)).sample(jax.random.key(7), 5)
    # Sums of float32 products of random numbers may differ in their last digit.
    arrays = [np.asarray(batch.inputs), np.round(batch.targets, 4), batch.lengths]
    checksum = zlib.crc32(b"".join(np.asarray(array).tobytes() for array in arrays))
    assert checksum == PINNED[name]


@each_task
def test_a_perfect_model_is_never_wrong(name):
    task, batch = MAKERS[name](length=12), draw(name, 12)
    outputs = _perfect(task, batch)
    assert not np.any(task.is_wrong(outputs, batch))
    assert task.loss(outputs, batch) < 1e-6
    assert task.loss(-outputs, batch) > 0.05


def _perfect(task: tasks.Task, batch: tasks.Batch) -> jax.Array:
    if task.output_size == 1:
        return jnp.asarray(batch.targets)[:, None]
    return 30 * jax.nn.one_hot(batch.targets, task.output_size)


@each_task
def test_no_constant_answer_beats_chance(name):
    task, batch = MAKERS[name](length=12), draw(name, 12)
    shares = [
        np.mean(task.is_wrong(answer, batch)) for answer in _constants(task, batch)
    ]
    spread = np.sqrt(task.chance_error * (1 - task.chance_error) / COUNT)
    # An answer taken from the batch is right for the sequence that it came from.
    assert abs(min(shares) - task.chance_error) <= 5 * spread + 2 / COUNT


def _constants(task: tasks.Task, batch: tasks.Batch) -> list[jax.Array]:
    size = len(batch.lengths)
    if task.output_size == 1:
        return [jnp.full((size, 1), value) for value in np.linspace(0, 2, 101)]
    if task.name == "text" or task.readout == "last":
        answers = np.arange(task.output_size)
        if task.name == "text":  # Every fourth, the space among them.
            answers = answers[::4, None].repeat(task.time, 1)
    else:
        answers = np.unique(batch.targets[:100], axis=0)
    return [
        jnp.broadcast_to(
            jax.nn.one_hot(answer, task.output_size),
            (size, *np.shape(answer), task.output_size),
        )
        for answer in answers
    ]


@each_task
@pytest.mark.parametrize("length", [0, -50, 50.0, "50", True, None])
def test_a_bad_length_is_named(name, length):
    with pytest.raises(ValueError, match=r"^`length` must be an int >= \d+"):
        MAKERS[name](length=length)


@each_sequence_task
@pytest.mark.parametrize("length", [(20, 10), (10,), (10, 20, 30), (10, 20.5), []])
def test_a_bad_range_of_lengths_is_named(name, length):
    with pytest.raises(ValueError, match="the shortest and the longest of such"):
        MAKERS[name](length=length)


@each_task
@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "4"])
def test_a_bad_batch_size_is_named(name, batch_size):
    with pytest.raises(ValueError, match=r"^`batch_size` must be an int >= 1; got "):
        MAKERS[name](length=12).sample(jax.random.key(0), batch_size)


def test_an_int_of_numpy_is_an_int():
    task = tasks.temporal_order(np.int64(10))  # pyright: ignore[reportArgumentType]
    batch = task.sample(jax.random.key(0), np.int64(2))  # pyright: ignore[reportArgumentType]
    assert batch.inputs.shape == (2, 10, 6)
    assert type(task.length) is int


@pytest.mark.parametrize("maker", [tasks.addition, tasks.multiplication, tasks.adding])
def test_a_bad_criterion_is_named(maker):
    with pytest.raises(ValueError, match=r"^`criterion` must be .*; got 'both'"):
        maker(criterion="both")


def test_values_after_the_last_step():
    batch = tasks.temporal_order((10, 14)).sample(jax.random.key(0), 6)
    numbers = jnp.arange(6 * 14 * 2).reshape(6, 14, 2)
    expected = [numbers[i, n - 1] for i, n in enumerate(batch.lengths)]
    np.testing.assert_array_equal(tasks.last(numbers, batch), jnp.stack(expected))


def test_an_answer_that_is_no_number_is_wrong_whatever_was_asked():
    task = tasks.temporal_order(length=10)
    batch = task.sample(jax.random.key(0), 50)
    assert 0 in batch.targets
    logits = jax.nn.one_hot(batch.targets, task.output_size)
    assert not task.is_wrong(logits, batch).any()
    assert task.is_wrong(logits.at[:, 3].set(jnp.nan), batch).all()
