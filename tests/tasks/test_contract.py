"""What holds for every task."""

import zlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd import tasks
from tests.slow import slow_but
from tests.tasks.draws import COUNT, MAKERS, SEQUENCE_MAKERS, draw, one_hot

each_task = pytest.mark.parametrize("name", MAKERS)
each_sequence_task = pytest.mark.parametrize("name", SEQUENCE_MAKERS)


def length_of(name: str) -> Any:
    """That of the batches here: one for the text, for all others a range."""
    return 12 if name == "text" else (10, 14)


@each_task
@pytest.mark.parametrize("wide", [False, True])
def test_shapes_are_those_that_the_task_states(name, wide):
    task = MAKERS[name](length=12)
    with jax.enable_x64(wide):
        batch = jax.eval_shape(lambda key: task.sample(key, COUNT), jax.random.key(0))
    assert batch.inputs.shape == (COUNT, task.time, task.input_size)
    assert batch.inputs.dtype == np.float32
    assert batch.lengths.shape == (COUNT,)
    assert batch.lengths.dtype == np.int32
    assert batch.mask.shape == (COUNT, task.time)
    assert batch.mask.dtype == np.bool_
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
    """Alone, or as one of several where JAX is set to 64 bits."""
    sample = MAKERS[name](length=length_of(name)).sample
    keys = jnp.stack([jax.random.key(3), jax.random.key(0)])
    with jax.enable_x64(True):
        mapped = jax.jit(jax.vmap(lambda key: sample(key, COUNT)))(keys)
    second = jax.tree.map(lambda leaf: np.asarray(leaf)[1], mapped)
    chex.assert_trees_all_equal(second, draw(name, length_of(name)), strict=True)
    assert (np.asarray(mapped.inputs[0]) != second.inputs).any()


PINNED = {
    "adding": 3926771770,
    "addition": 3340113761,
    "copying": 3146864487,
    "memorization_5bit": 1359628142,
    "memorization_20bit": 4014721915,
    "multiplication": 274335535,
    "random_permutation": 793990769,
    "temporal_order": 1505965304,
    "temporal_order_3bit": 1480280992,
    "xor": 1647241592,
}


@each_sequence_task
def test_a_known_batch_stays_the_same_on_every_platform(name):
    inputs, targets, lengths, _ = (leaf[:5] for leaf in draw(name, (10, 14)))
    # Sums of float32 products of random numbers may differ in their last digit.
    arrays = inputs, np.round(targets, 4), lengths
    checksum = zlib.crc32(b"".join(array.tobytes() for array in arrays))
    assert checksum == PINNED[name]


@each_task
def test_a_perfect_model_is_never_wrong(name):
    length = length_of(name)
    task, batch = MAKERS[name](length=length), draw(name, length)
    outputs = _perfect(task, batch)
    loss = jax.jit(task.loss)
    assert not np.any(jax.jit(task.is_wrong)(outputs, batch))
    assert loss(outputs, batch) < 1e-6
    assert loss(-outputs, batch) > 0.05


def _perfect(task: tasks.Task, batch: tasks.Batch) -> np.ndarray:
    if task.output_size == 1:
        return np.asarray(batch.targets)[:, None]
    return 30 * one_hot(batch.targets, task.output_size)


# The others differ from these in the number of symbols.
@pytest.mark.parametrize(
    "name", slow_but({*MAKERS} - {"copying", "memorization_20bit"}, MAKERS)
)
def test_no_constant_answer_beats_chance(name):
    # To sequences of several lengths no answer at every step is the same.
    length = 12 if MAKERS[name]().readout == "every" else (10, 14)
    task, batch = MAKERS[name](length=length), draw(name, length)

    @jax.jit
    def share_of_wrong(answer, batch):
        outputs = jnp.broadcast_to(answer, (COUNT, *answer.shape))
        return jnp.mean(task.is_wrong(outputs, batch))

    shares = [share_of_wrong(answer, batch) for answer in _constants(task, batch)]
    spread = np.sqrt(task.chance_error * (1 - task.chance_error) / COUNT)
    # An answer taken from the batch is right for the sequence that it came from.
    assert abs(min(shares) - task.chance_error) <= 5 * spread + 2 / COUNT


def _constants(task: tasks.Task, batch: tasks.Batch) -> np.ndarray:
    """Outputs for one sequence, of which some are as good as any [answers, ...]."""
    if task.output_size == 1:
        return np.linspace(0, 2, 101, dtype=np.float32)[:, None]
    if task.name == "text":  # Every fourth, the space among them.
        answers = np.arange(task.output_size)[::4, None].repeat(task.time, 1)
    elif task.readout == "last":
        answers = np.arange(task.output_size)
    else:
        answers = np.unique(batch.targets[:100], axis=0)
    return one_hot(answers, task.output_size)


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
    count: Any = np.int64(2)
    batch = jax.eval_shape(lambda key: task.sample(key, count), jax.random.key(0))
    assert batch.inputs.shape == (2, 10, 6)
    assert type(task.length) is int


@pytest.mark.parametrize("maker", [tasks.addition, tasks.multiplication, tasks.adding])
def test_a_bad_criterion_is_named(maker):
    with pytest.raises(ValueError, match=r"^`criterion` must be .*; got 'both'"):
        maker(criterion="both")


def test_values_after_the_last_step():
    batch = draw("temporal_order", (10, 14))
    numbers = np.arange(COUNT * 14 * 2).reshape(COUNT, 14, 2)
    expected = [numbers[i, n - 1] for i, n in enumerate(batch.lengths)]
    np.testing.assert_array_equal(jax.jit(tasks.last)(numbers, batch), expected)


def test_an_answer_that_is_no_number_is_wrong_whatever_was_asked():
    task, batch = tasks.temporal_order((10, 14)), draw("temporal_order", (10, 14))
    is_wrong = jax.jit(task.is_wrong)
    assert 0 in batch.targets
    logits = one_hot(batch.targets, task.output_size)
    assert not is_wrong(logits, batch).any()
    logits[:, 3] = np.nan
    assert is_wrong(logits, batch).all()
