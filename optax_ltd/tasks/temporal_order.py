"""The temporal order tasks: in which order did some symbols come, long ago?"""

import math

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length, check_length
from optax_ltd.tasks._sampling import (
    integers,
    mean_length,
    nominal,
    sampler,
    tenth,
)
from optax_ltd.tasks._scores import cross_entropy, wrong_class
from optax_ltd.tasks._task import Means, Task

_NUM_ORDERED = 2  # A and B, whose order is asked for
_NUM_SYMBOLS = 6  # A, B and the distractors c, d, e, f
_MIN_LENGTH = 10  # below it, a tenth of the sequence is less than one step


def temporal_order(length: Length = 50) -> Task:
    """Returns the temporal order task.

    A sequence of ``length`` symbols, one-hot among six. One of A and B stands at a
    random step ``p`` with ``0.1 * length <= p < 0.2 * length``, and again one of them
    with ``0.5 * length <= p < 0.6 * length``. All other steps hold distractors, drawn
    from {c, d, e, f}. After the last step the model must say which of the four pairs
    it has seen: class ``first + 2 * second``, with A = 0 and B = 1.

    The model's outputs are logits float ``[batch, 4]``; targets are int32 ``[batch]``.

    Args:
      length: Time steps in a sequence, 10 or more; or the shortest and the longest, of
        which each sequence draws its own.

    Returns:
      The task, with inputs float32 ``[batch, length, 6]``.

    Raises:
      ValueError: If ``length`` is no int of at least 10 and no pair of them, or, when
        sampling, if ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.temporal_order(length=50)
      >>> batch = task.sample(jax.random.key(0), 20)
      >>> batch.inputs.shape, batch.targets.shape
      ((20, 50, 6), (20,))

    References:
      Hochreiter and Schmidhuber, *Long short-term memory*, 1997, task 6a;
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013.
    """
    return _temporal_order("temporal order", length, (1, 5))


def temporal_order_3bit(length: Length = 50) -> Task:
    """Returns the 3-bit temporal order task.

    As `temporal_order`, with three symbols to remember, each A or B: at random steps
    ``p`` with ``0.1 <= p / length < 0.2``, ``0.3 <= p / length < 0.4`` and
    ``0.6 <= p / length < 0.7``. The class is ``first + 2 * second + 4 * third``.

    The model's outputs are logits float ``[batch, 8]``; targets are int32 ``[batch]``.

    Args:
      length: Time steps in a sequence, 10 or more; or the shortest and the longest, of
        which each sequence draws its own.

    Returns:
      The task, with inputs float32 ``[batch, length, 6]``.

    Raises:
      ValueError: If ``length`` is no int of at least 10 and no pair of them, or, when
        sampling, if ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.temporal_order_3bit(length=(50, 200))
      >>> batch = task.sample(jax.random.key(0), 20)
      >>> batch.inputs.shape, bool((batch.lengths >= 50).all())
      ((20, 200, 6), True)

    References:
      Hochreiter and Schmidhuber, *Long short-term memory*, 1997, task 6b;
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013.
    """
    return _temporal_order("3-bit temporal order", length, (1, 3, 6))


def _temporal_order(name: str, length: Length, tenths: tuple[int, ...]) -> Task:
    lengths = check_length(length, at_least=_MIN_LENGTH)
    count, time = len(tenths), lengths[1]

    def draw(
        key: jax.Array, steps: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        ordered, other = (0, _NUM_ORDERED), (_NUM_ORDERED, _NUM_SYMBOLS)
        ranges = [tenth(n, steps) for n in tenths]
        ranges += [*count * [ordered], *time * [other]]
        batch = steps.shape[0]
        drawn = integers(key, ranges, batch)
        places, chosen = drawn[:, :count], drawn[:, count : 2 * count]
        rows = jnp.arange(batch)[:, None]
        symbols = drawn[:, 2 * count :].at[rows, places].set(chosen)
        targets = jnp.sum(chosen << jnp.arange(count, dtype=jnp.int32), 1, jnp.int32)
        inputs = jax.nn.one_hot(symbols, _NUM_SYMBOLS, dtype=jnp.float32)
        return inputs, targets, steps

    mean, others = mean_length(lengths), _NUM_SYMBOLS - _NUM_ORDERED
    shares = [count / _NUM_ORDERED / mean] * _NUM_ORDERED
    shares += [(mean - count) / others / mean] * others
    output_size = _NUM_ORDERED**count
    return Task(
        name=name,
        length=nominal(lengths),
        time=time,
        input_size=_NUM_SYMBOLS,
        output_size=output_size,
        readout="last",
        sample=sampler(draw, lengths),
        loss=cross_entropy,
        is_wrong=wrong_class,
        chance_error=1 - 1 / output_size,
        means=Means(tuple(shares), output_size * (-math.log(output_size),)),
    )
