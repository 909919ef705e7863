"""Tasks in which a string of symbols is to be repeated when the cue comes."""

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length, check_length
from optax_ltd.tasks._sampling import nominal, sequence_lengths
from optax_ltd.tasks._scores import cross_entropy, wrong_class
from optax_ltd.tasks._task import Batch, Task


def recall(name: str, length: Length, *, values: int, count: int) -> Task:
    """Makes such a task.

    Args:
      name: of the task.
      length: steps from the end of the string to its repetition.
      values: how many values a symbol may have.
      count: how many symbols there are.

    Returns:
      The task.
    """
    lengths = check_length(length, at_least=1)
    time = lengths[1] + 2 * count
    blank, cue = values, values + 1

    def sample(key: jax.Array, batch_size: int) -> Batch:
        key, lags = sequence_lengths(key, batch_size, lengths)
        string = jax.random.randint(key, (batch_size, count), 0, values, jnp.int32)
        steps, step = lags[:, None] + 2 * count, jnp.arange(time)
        symbols = jnp.full((batch_size, time), blank, jnp.int32)
        symbols = symbols.at[:, :count].set(string)
        symbols = jnp.where(step == steps - count - 1, cue, symbols)
        # Which symbol is due: from 0 in the first step after the cue.
        due = step - (steps - count)
        repeated = jnp.take_along_axis(string, jnp.clip(due, 0, count - 1), axis=1)
        mask = step < steps
        targets = jnp.where((due >= 0) & mask, repeated, blank)
        inputs = jax.nn.one_hot(symbols, values + 2, dtype=jnp.float32)
        inputs = jnp.where(mask[..., None], inputs, 0)
        return Batch(inputs, targets, steps[:, 0], mask)

    return Task(
        name=name,
        length=nominal(lengths),
        time=time,
        input_size=values + 2,
        output_size=values + 1,
        readout="every",
        sample=sample,
        loss=cross_entropy,
        is_wrong=wrong_class,
        chance_error=1 - values**-count,
    )
