"""The temporal order task: in which order did two symbols come, long ago?"""

import jax
import jax.numpy as jnp
import numpy as np

from optax_ltd.tasks._task import Task, check_count

_NUM_ORDERED = 2  # A and B, whose order is asked for
_NUM_SYMBOLS = 6  # A, B and the distractors c, d, e, f
_MIN_LENGTH = 10  # below it, a tenth of the sequence is less than one step


def temporal_order(length: int = 50) -> Task:
    """Returns the temporal order task.

    A sequence of ``length`` symbols, one-hot among six. One of A and B stands at a
    random step ``p`` with ``0.1 * length <= p < 0.2 * length``, and again one of them
    with ``0.5 * length <= p < 0.6 * length``. All other steps hold distractors, drawn
    from {c, d, e, f}. After the last step the model must say which of the four pairs
    it has seen: class ``first + 2 * second``, with A = 0 and B = 1.

    The model's outputs are logits float ``[batch, 4]``; targets are int32 ``[batch]``.

    Args:
      length: Time steps in a sequence, 10 or more.

    Returns:
      The task, with inputs float32 ``[batch, length, 6]``.

    Raises:
      ValueError: If ``length`` is no int of at least 10, or, when sampling, if
        ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.temporal_order(length=50)
      >>> inputs, targets = task.sample(jax.random.key(0), 20)
      >>> inputs.shape, targets.shape
      ((20, 50, 6), (20,))

    References:
      Hochreiter and Schmidhuber, *Long short-term memory*, 1997, task 6a;
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013.
    """
    length = check_count("length", length, at_least=_MIN_LENGTH)

    def sample(key: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
        batch_size = check_count("batch_size", batch_size, at_least=1)
        return _sample(key, batch_size, length)

    return Task(
        name="temporal order",
        length=length,
        input_size=_NUM_SYMBOLS,
        output_size=_NUM_ORDERED**2,
        sample=sample,
        loss=_cross_entropy,
        is_wrong=lambda logits, targets: jnp.argmax(logits, axis=-1) != targets,
        chance_error=1 - 1 / _NUM_ORDERED**2,
    )


def _sample(
    key: jax.Array, batch_size: int, length: int
) -> tuple[jax.Array, jax.Array]:
    """One batch: inputs float32 [batch, length, 6], targets int32 [batch]."""
    # One draw for everything: each takes long to compile.
    early_range, late_range = _tenth(1, length), _tenth(5, length)
    ordered_range, other_range = (0, _NUM_ORDERED), (_NUM_ORDERED, _NUM_SYMBOLS)
    ranges = [early_range, late_range, *2 * [ordered_range], *length * [other_range]]
    low, high = np.array(ranges, np.int32).T
    drawn = jax.random.randint(key, (batch_size, len(low)), low, high, jnp.int32)
    early, late, first, second = drawn[:, :4].T
    rows = jnp.arange(batch_size)
    symbols = drawn[:, 4:].at[rows, early].set(first).at[rows, late].set(second)
    return jax.nn.one_hot(symbols, _NUM_SYMBOLS, dtype=jnp.float32), first + 2 * second


def _tenth(n: int, length: int) -> tuple[int, int]:
    """The steps from n/10 of the length to (n + 1)/10 of it: start, stop."""
    # Ceilings in integers: 0.6 * 50 in floating point could admit or lose a step.
    return -(-n * length // 10), -(-(n + 1) * length // 10)


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats of logits [batch, 4] against targets [batch]."""
    log_probabilities = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probabilities, targets[:, None], axis=-1)
    return -jnp.mean(chosen)
