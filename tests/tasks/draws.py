"""Draws of the tasks that tests look at, each compiled once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from optax_ltd import tasks

COUNT = 10_000
MAKERS: dict[str, Callable[..., tasks.Task]] = {
    name: getattr(tasks, name)
    for name in tasks.__all__
    if name not in ("Batch", "Means", "Task", "centred", "last")
}
SEQUENCE_MAKERS = {name: make for name, make in MAKERS.items() if name != "text"}


def sample(task: tasks.Task, count: int) -> tasks.Batch:
    """So many sequences, as NumPy arrays; all of it is one program."""
    batch = jax.jit(task.sample, static_argnums=1)(jax.random.key(0), count)
    return jax.tree.map(np.asarray, batch)


@functools.cache
def draw(name: str, length: Any) -> tasks.Batch:
    """A large batch."""
    return sample(MAKERS[name](length=length), COUNT)


def one_hot(classes: Any, size: int) -> np.ndarray:
    """Logits of a model that is sure of these classes."""
    return np.eye(size, dtype=np.float32)[classes]


def assert_uniform(counts: Any) -> None:
    """Every count within five standard deviations of the mean."""
    counts = np.asarray(counts)
    expected = counts.sum() / len(counts)
    assert np.abs(counts - expected).max() <= 5 * np.sqrt(expected)


def assert_fills(values: Any, allowed: Any) -> None:
    """Values are uniform over those allowed, and there are no others."""
    found, counts = np.unique(values, return_counts=True)
    assert set(found) == set(allowed)
    assert_uniform(counts)


def assert_independent(*columns: Any) -> None:
    """No two columns are correlated beyond five standard deviations."""
    table = np.corrcoef(np.stack(columns).astype(np.float64))
    off_diagonal = table - np.eye(len(columns))
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(len(columns[0]))
