import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd import tasks

N = 20_000


@functools.cache
def draw(length: int):
    sample = jax.jit(tasks.temporal_order(length).sample, static_argnums=1)
    inputs, targets = sample(jax.random.key(0), N)
    return np.asarray(inputs), np.asarray(targets)


@pytest.mark.parametrize("length", [10, 11, 17, 50])
def test_batch_is_one_hot_with_two_ordered_symbols(length):
    inputs, targets = draw(length)
    assert inputs.shape == (N, length, 6)
    assert inputs.dtype == np.float32
    assert targets.shape == (N,)
    assert targets.dtype == np.int32
    assert set(np.unique(inputs)) == {0.0, 1.0}
    np.testing.assert_array_equal(inputs.sum(-1), 1)
    np.testing.assert_array_equal((inputs.argmax(-1) < 2).sum(1), 2)


@pytest.mark.parametrize(
    ("length", "early", "late"),
    [
        (10, {1}, {5}),
        (11, {2}, {6}),  # 1.1 <= p < 2.2 and 5.5 <= p < 6.6
        (17, {2, 3}, {9, 10}),  # 1.7 <= p < 3.4 and 8.5 <= p < 10.2
        (50, set(range(5, 10)), set(range(25, 30))),
    ],
)
def test_positions_fill_their_ranges_and_no_more(length, early, late):
    inputs, _ = draw(length)
    is_ordered = inputs.argmax(-1) < 2
    first = is_ordered.argmax(1)
    second = length - 1 - is_ordered[:, ::-1].argmax(1)
    for positions, allowed in ((first, early), (second, late)):
        values, counts = np.unique(positions, return_counts=True)
        assert set(values) == allowed
        assert_uniform(counts)


def test_target_is_the_pair_of_ordered_symbols_in_their_order():
    inputs, targets = draw(50)
    symbols = inputs.argmax(-1)
    pairs = symbols[symbols < 2].reshape(N, 2)  # in the order of time
    np.testing.assert_array_equal(targets, pairs[:, 0] + 2 * pairs[:, 1])


def test_classes_and_distractors_are_uniform():
    inputs, targets = draw(50)
    assert_uniform(np.bincount(targets, minlength=4))
    counts = inputs.sum((0, 1))[2:]
    assert_uniform(counts)
    assert counts.sum() == 48 * N


def test_draws_are_independent_of_one_another():
    inputs, targets = draw(50)
    symbols = inputs.argmax(-1)
    first = (symbols < 2).argmax(1)
    second = 49 - (symbols < 2)[:, ::-1].argmax(1)
    columns = np.stack([first, second, targets % 2, targets // 2, *symbols[:, :5].T])
    off_diagonal = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(N)


def test_same_key_same_batch_in_vmap_and_x64():
    sample = jax.jit(tasks.temporal_order(20).sample, static_argnums=1)
    keys = jax.random.split(jax.random.key(3), 2)
    expected = sample(keys[1], 4)
    mapped = jax.vmap(lambda key: sample(key, 4))(keys)
    with jax.enable_x64(True):
        wide = sample(keys[1], 4)
    for want, vmap, x64 in zip(expected, mapped, wide, strict=True):
        np.testing.assert_array_equal(vmap[1], want)
        np.testing.assert_array_equal(x64, want)
        assert x64.dtype == want.dtype
    assert (mapped[0][0] != mapped[0][1]).any()


def test_known_batch_stays_the_same_on_every_platform():
    inputs, targets = tasks.temporal_order(10).sample(jax.random.key(0), 2)
    symbols = ["".join("ABcdef"[i] for i in row) for row in inputs.argmax(-1)]
    assert symbols == ["fAcfdBcecf", "eAfccAddcd"]
    np.testing.assert_array_equal(targets, [2, 0])


def test_loss_is_the_mean_cross_entropy_and_errors_are_per_sequence():
    task = tasks.temporal_order(10)
    logits = jnp.log(jnp.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1]]))
    targets = jnp.array([0, 2])
    expected = -(np.log(0.7) + np.log(0.2)) / 2
    np.testing.assert_allclose(task.loss(logits, targets), expected, rtol=1e-6)
    np.testing.assert_array_equal(task.is_wrong(logits, targets), [False, True])


def test_task_states_its_sizes_and_criterion():
    task = tasks.temporal_order(30)
    assert (task.name, task.length) == ("temporal order", 30)
    assert (task.input_size, task.output_size) == (6, 4)
    assert (task.chance_error, task.solved_below, task.test_size) == (
        0.75,
        0.01,
        10_000,
    )


@pytest.mark.parametrize("length", [9, 0, -50, 50.0, "50", True, None])
def test_bad_length_is_named(length):
    with pytest.raises(ValueError, match=r"^`length` must be an int >= 10; got "):
        tasks.temporal_order(length)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "4"])
def test_bad_batch_size_is_named(batch_size):
    with pytest.raises(ValueError, match=r"^`batch_size` must be an int >= 1; got "):
        tasks.temporal_order(10).sample(jax.random.key(0), batch_size)


def test_an_int_of_numpy_is_an_int():
    task = tasks.temporal_order(np.int64(10))  # pyright: ignore[reportArgumentType]
    inputs, _ = task.sample(jax.random.key(0), np.int64(2))  # pyright: ignore[reportArgumentType]
    assert inputs.shape == (2, 10, 6)
    assert type(task.length) is int


def assert_uniform(counts):
    """Every count within five standard deviations of the mean."""
    counts = np.asarray(counts)
    expected = counts.sum() / len(counts)
    assert np.abs(counts - expected).max() <= 5 * np.sqrt(expected)
