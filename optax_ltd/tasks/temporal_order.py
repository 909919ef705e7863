"""The temporal order task: in which order did two symbols come, long ago?"""

import jax
import jax.numpy as jnp

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
      ValueError: If ``length`` is not an integer of 10 or more, or, when sampling, if
        ``batch_size`` is not one of 1 or more.

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
    check_count("length", length, at_least=_MIN_LENGTH)

    def sample(key: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
        check_count("batch_size", batch_size, at_least=1)
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
    keys = jax.random.split(key, 4)
    early = _positions(keys[0], batch_size, length, tenth=1)
    late = _positions(keys[1], batch_size, length, tenth=5)
    first, second = jax.random.randint(
        keys[2], (2, batch_size), 0, _NUM_ORDERED, jnp.int32
    )
    symbols = jax.random.randint(
        keys[3], (batch_size, length), _NUM_ORDERED, _NUM_SYMBOLS, jnp.int32
    )
    rows = jnp.arange(batch_size)
    symbols = symbols.at[rows, early].set(first).at[rows, late].set(second)
    return jax.nn.one_hot(symbols, _NUM_SYMBOLS, dtype=jnp.float32), first + 2 * second


def _positions(key: jax.Array, batch_size: int, length: int, tenth: int) -> jax.Array:
    """Uniform int32 [batch] in [tenth/10 length, (tenth+1)/10 length)."""
    # Ceilings in integers: 0.6 * 50 in floating point could admit or lose a step.
    start = -(-tenth * length // 10)
    stop = -(-(tenth + 1) * length // 10)
    return jax.random.randint(key, (batch_size,), start, stop, jnp.int32)


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats of logits [batch, 4] against targets [batch]."""
    log_probabilities = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probabilities, targets[:, None], axis=-1)
    return -jnp.mean(chosen)
