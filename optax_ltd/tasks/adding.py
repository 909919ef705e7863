"""The easier adding task: the sum of two marked numbers, one in each half."""

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length, check_length
from optax_ltd.tasks._sampling import integers, mean_length, nominal, sampler, uniform
from optax_ltd.tasks._scores import (
    Criterion,
    by_each_criterion,
    squared_error,
    tolerance,
    wrong_number,
)
from optax_ltd.tasks._task import Means, Task

_MIN_LENGTH = 2  # a step for each half


def adding(length: Length = 100, *, criterion: Criterion = "absolute") -> Task:
    """Returns the adding task of the later literature, easier than `addition`.

    A sequence of ``length`` steps of two features: a mark and a number, uniform over
    (0, 1). One number in the first half is marked by a 1 and one in the second; after
    the last step the model must say their sum. The second may stand at the very end,
    and the first just before the middle, so that the lag is often short. Always
    answering 1 gives a mean squared error of 1/6.

    The model's outputs are float ``[batch, 1]``; targets are float32 ``[batch]``. The
    loss is the mean squared error.

    Args:
      length: Time steps in a sequence, 2 or more; or the shortest and the longest, of
        which each sequence draws its own.
      criterion: Which answers are wrong: with ``"absolute"`` those whose error exceeds
        .04; with ``"squared"`` those whose squared error does.

    Returns:
      The task, with inputs float32 ``[batch, length, 2]``.

    Raises:
      ValueError: If ``length`` is no int of at least 2 and no pair of them, if
        ``criterion`` is unknown, or, when sampling, if ``batch_size`` is no int of at
        least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.adding(length=100)
      >>> batch = task.sample(jax.random.key(0), 3)
      >>> print((batch.inputs[:, :50, 0].sum(1), batch.inputs[:, 50:, 0].sum(1)))
      (Array([1., 1., 1.], dtype=float32), Array([1., 1., 1.], dtype=float32))

    References:
      Le, Jaitly and Hinton, *A simple way to initialize recurrent networks of
      rectified linear units*, 2015.
    """
    lengths = check_length(length, at_least=_MIN_LENGTH)
    time = lengths[1]

    def draw(
        key: jax.Array, steps: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        mark_key, number_key = jax.random.split(key)
        batch = steps.shape[0]
        marks = integers(mark_key, [(0, steps // 2), (steps // 2, steps)], batch)
        values = uniform(number_key, (batch, time))
        rows = jnp.arange(batch)[:, None]
        marked = jnp.zeros((batch, time), jnp.float32).at[rows, marks].set(1)
        return jnp.stack([marked, values], -1), values[rows, marks].sum(1), steps

    return Task(
        name="adding",
        length=nominal(lengths),
        time=time,
        input_size=2,
        output_size=1,
        readout="last",
        sample=sampler(draw, lengths),
        loss=squared_error,
        is_wrong=wrong_number(criterion),
        # Nobody does better than 1, whose error has a triangular density.
        chance_error=(1 - tolerance(criterion)) ** 2,
        measures=by_each_criterion(),
        means=Means((2 / mean_length(lengths), 0.5), (1.0,)),
    )
