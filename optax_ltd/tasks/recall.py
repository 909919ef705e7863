"""Tasks in which a string of symbols is to be repeated when the cue comes."""

import math

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length, check_length
from optax_ltd.tasks._sampling import compiled, mean_length, nominal, sequence_lengths
from optax_ltd.tasks._scores import cross_entropy, wrong_class, wrong_steps
from optax_ltd.tasks._task import Batch, Means, Task


def memorization_5bit(length: Length = 50) -> Task:
    """Returns the noiseless 5-bit memorisation task.

    First come 5 symbols of 2 values, then ``length`` blanks, of which the last one is
    the cue, then 5 blanks in which the model must repeat the symbols in their order.
    Before, it must answer that there is nothing to say, class 2. A sequence counts as
    wrong if any of its steps was answered wrongly.

    Inputs are one-hot among the values, the blank and the cue. The model's outputs are
    logits float ``[batch, time, 3]`` at every step; targets are int32
    ``[batch, time]``. The measure ``"symbols"`` counts the steps that were wrong.

    Args:
      length: Steps between the symbols and their repetition, 1 or more; or the
        shortest and the longest, of which each sequence draws its own.

    Returns:
      The task, with inputs float32 ``[batch, length + 10, 4]``.

    Raises:
      ValueError: If ``length`` is no int of at least 1 and no pair of them, or, when
        sampling, if ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.memorization_5bit(length=3)
      >>> batch = task.sample(jax.random.key(0), 1)
      >>> print(batch.inputs[0].argmax(-1))
      [1 0 0 1 1 2 2 3 2 2 2 2 2]
      >>> print(batch.targets[0])
      [2 2 2 2 2 2 2 2 1 0 0 1 1]

    References:
      Martens and Sutskever, *Learning recurrent neural networks with Hessian-free
      optimization*, ICML 2011; Pascanu, Mikolov and Bengio, *On the difficulty of
      training recurrent neural networks*, 2013.
    """
    return _recall("5-bit memorization", length, values=2, count=5)


def memorization_20bit(length: Length = 50) -> Task:
    """Returns the noiseless 20-bit memorisation task.

    As `memorization_5bit`, with 10 symbols of 5 values: ``5**10`` strings, more than
    20 bits' worth.

    The model's outputs are logits float ``[batch, time, 6]`` at every step; targets
    are int32 ``[batch, time]``.

    Args:
      length: Steps between the symbols and their repetition, 1 or more; or the
        shortest and the longest, of which each sequence draws its own.

    Returns:
      The task, with inputs float32 ``[batch, length + 20, 7]``.

    Raises:
      ValueError: If ``length`` is no int of at least 1 and no pair of them, or, when
        sampling, if ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.memorization_20bit(length=50)
      >>> task.sample(jax.random.key(0), 8).inputs.shape
      (8, 70, 7)

    References:
      Martens and Sutskever, *Learning recurrent neural networks with Hessian-free
      optimization*, ICML 2011; Pascanu, Mikolov and Bengio, *On the difficulty of
      training recurrent neural networks*, 2013.
    """
    return _recall("20-bit memorization", length, values=5, count=10)


def copying(length: Length = 100) -> Task:
    """Returns the delayed copying task.

    As `memorization_5bit`, with 10 symbols of 8 values, the sizes under which the task
    is known as copying: after the symbols ``length`` steps pass, the last of them the
    cue, then the model must repeat them. Without memory the best mean cross-entropy is
    ``10 * log(8) / (length + 20)``.

    The model's outputs are logits float ``[batch, time, 9]`` at every step; targets
    are int32 ``[batch, time]``.

    Args:
      length: Steps between the symbols and their repetition, 1 or more; or the
        shortest and the longest, of which each sequence draws its own.

    Returns:
      The task, with inputs float32 ``[batch, length + 20, 10]``.

    Raises:
      ValueError: If ``length`` is no int of at least 1 and no pair of them, or, when
        sampling, if ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.copying(length=100)
      >>> task.sample(jax.random.key(0), 8).inputs.shape
      (8, 120, 10)

    References:
      Arjovsky, Shah and Bengio, *Unitary evolution recurrent neural networks*,
      ICML 2016.
    """
    return _recall("copying", length, values=8, count=10)


def _recall(name: str, length: Length, *, values: int, count: int) -> Task:
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

    @compiled
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

    lag = mean_length(lengths)
    string = values * [count / values]
    seen, asked = [*string, lag - 1 + count, 1], [*string, lag + count]
    steps = lag + 2 * count
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
        measures={"symbols": wrong_steps},
        means=Means(
            tuple(x / steps for x in seen),
            tuple(math.log(x / steps) for x in asked),
        ),
    )
