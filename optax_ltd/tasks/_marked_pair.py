"""Sequences of numbers, two of which are marked."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length, check_length
from optax_ltd.tasks._sampling import Draw, integers, nominal, sampler, tenth
from optax_ltd.tasks._task import Score, Task

MIN_LENGTH = 10  # below it, a tenth of the sequence is less than one step


def longest_time(length: int) -> int:
    """Steps of the longest sequence of this length; it is below 1.1 of it."""
    return max(length, -(-11 * length // 10) - 1)


def marked_pair(
    name: str,
    length: Length,
    *,
    numbers: Callable[[jax.Array, tuple[int, int]], jax.Array],
    answer: Callable[[jax.Array, jax.Array], jax.Array],
    output_size: int,
    loss: Score,
    is_wrong: Score,
    chance_error: float,
) -> Task:
    """Makes a task about two marked numbers.

    A sequence of nominal length L has T steps, L <= T < 1.1 L. Its second channel
    holds numbers; the first is 1 at a step before 0.1 T and at one from there up to
    0.5 T, and 0 elsewhere.

    Args:
      name: of the task.
      length: nominal.
      numbers: draws those of all steps, float32 [batch, time].
      answer: takes the first and the second marked number, [batch] each.
      output_size: of the model.
      loss: of the task.
      is_wrong: of the task.
      chance_error: of the task.

    Returns:
      The task.
    """
    lengths = check_length(length, at_least=MIN_LENGTH)
    time = longest_time(lengths[1])
    return Task(
        name=name,
        length=nominal(lengths),
        time=time,
        input_size=2,
        output_size=output_size,
        readout="last",
        sample=sampler(_draw(numbers, answer, time), lengths),
        loss=loss,
        is_wrong=is_wrong,
        chance_error=chance_error,
    )


def _draw(
    numbers: Callable[[jax.Array, tuple[int, int]], jax.Array],
    answer: Callable[[jax.Array, jax.Array], jax.Array],
    time: int,
) -> Draw:
    """What `sampler` needs; sequences are padded to ``time``."""

    def draw(
        key: jax.Array, lengths: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        step_key, mark_key, number_key = jax.random.split(key, 3)
        batch = lengths.shape[0]
        longest = jnp.maximum(lengths + 1, -(-11 * lengths // 10))
        steps = integers(step_key, [(lengths, longest)], batch)[:, 0]
        early, late = tenth(1, steps)[0], tenth(5, steps)[0]
        marks = integers(mark_key, [(0, early), (early, late)], batch)
        values = numbers(number_key, (batch, time))
        rows = jnp.arange(batch)
        marked = jnp.zeros((batch, time), jnp.float32).at[rows[:, None], marks].set(1)
        targets = answer(values[rows, marks[:, 0]], values[rows, marks[:, 1]])
        return jnp.stack([marked, values], axis=-1), targets, steps

    return draw
