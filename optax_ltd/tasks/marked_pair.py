"""The tasks about two marked numbers: their mean, their product, their parity."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length, check_length
from optax_ltd.tasks._sampling import (
    Draw,
    integers,
    nominal,
    sampler,
    tenth,
    uniform,
)
from optax_ltd.tasks._scores import (
    Criterion,
    by_each_criterion,
    cross_entropy,
    squared_error,
    tolerance,
    wrong_class,
    wrong_number,
)
from optax_ltd.tasks._task import Means, Score, Task

_MIN_LENGTH = 10  # below it, a tenth of the sequence is less than one step


def addition(length: Length = 50, *, criterion: Criterion = "squared") -> Task:
    """Returns the addition task.

    A sequence has ``T`` steps, drawn from ``length <= T < 1.1 * length``, of two
    features: a mark and a number, uniform over (0, 1). One number ``a`` before
    ``0.1 * T`` is marked by a 1, and one, ``b``, from there up to ``0.5 * T``; the
    other marks are 0. After the last step the model must say ``(a + b) / 2``.

    The model's outputs are float ``[batch, 1]``; targets are float32 ``[batch]``. The
    loss is the mean squared error.

    Args:
      length: 10 or more; or the shortest and the longest, of which each sequence draws
        its own.
      criterion: Which answers are wrong: with ``"squared"`` those whose squared error
        exceeds .04, as in the code of Pascanu et al.; with ``"absolute"`` those whose
        error does, as in Hochreiter and Schmidhuber.

    Returns:
      The task, with inputs float32 ``[batch, time, 2]``, time below 1.1 of the length.

    Raises:
      ValueError: If ``length`` is no int of at least 10 and no pair of them, if
        ``criterion`` is unknown, or, when sampling, if ``batch_size`` is no int of at
        least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.addition(length=50)
      >>> batch = task.sample(jax.random.key(0), 20)
      >>> batch.inputs.shape, float(batch.inputs[0, :, 0].sum())
      ((20, 54, 2), 2.0)

    References:
      Hochreiter and Schmidhuber, *Long short-term memory*, 1997, experiment 4;
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013.
    """
    return _marked_pair(
        "addition",
        length,
        numbers=uniform,
        answer=lambda a, b: (a + b) / 2,
        output_size=1,
        loss=squared_error,
        is_wrong=wrong_number(criterion),
        # Nobody does better than 1/2, whose error has a triangular density.
        chance_error=(1 - 2 * tolerance(criterion)) ** 2,
        mean_outputs=(1 / 2,),
        measures=by_each_criterion(),
    )


def multiplication(length: Length = 50, *, criterion: Criterion = "squared") -> Task:
    """Returns the multiplication task.

    As `addition`, with the product ``a * b`` of the two marked numbers for an answer.

    The model's outputs are float ``[batch, 1]``; targets are float32 ``[batch]``. The
    loss is the mean squared error.

    Args:
      length: 10 or more; or the shortest and the longest, of which each sequence draws
        its own.
      criterion: Which answers are wrong: with ``"squared"`` those whose squared error
        exceeds .04, as in the code of Pascanu et al.; with ``"absolute"`` those whose
        error does, as in Hochreiter and Schmidhuber.

    Returns:
      The task, with inputs float32 ``[batch, time, 2]``, time below 1.1 of the length.

    Raises:
      ValueError: If ``length`` is no int of at least 10 and no pair of them, if
        ``criterion`` is unknown, or, when sampling, if ``batch_size`` is no int of at
        least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.multiplication(length=50, criterion="absolute")
      >>> round(task.chance_error, 2)
      0.72

    References:
      Hochreiter and Schmidhuber, *Long short-term memory*, 1997, experiment 5;
      Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural
      networks*, 2013.
    """
    # The product has the distribution function z - z log z, steepest at 0: the answer
    # that is right most often is that at whose lower edge 0 lies.
    covered = 2 * tolerance(criterion)
    return _marked_pair(
        "multiplication",
        length,
        numbers=uniform,
        answer=lambda a, b: a * b,
        output_size=1,
        loss=squared_error,
        is_wrong=wrong_number(criterion),
        chance_error=1 - (covered - covered * math.log(covered)),
        mean_outputs=(1 / 4,),
        measures=by_each_criterion(),
    )


def xor(length: Length = 50) -> Task:
    """Returns the xor task.

    As `addition`, with bits for numbers: after the last step the model must say
    whether the two marked ones differ. Neither of them alone tells anything.

    The model's outputs are logits float ``[batch, 2]``; targets are int32 ``[batch]``,
    1 if the bits differ.

    Args:
      length: 10 or more; or the shortest and the longest, of which each sequence draws
        its own.

    Returns:
      The task, with inputs float32 ``[batch, time, 2]``, time below 1.1 of the length.

    Raises:
      ValueError: If ``length`` is no int of at least 10 and no pair of them, or, when
        sampling, if ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.xor(length=20)
      >>> batch = task.sample(jax.random.key(0), 5)
      >>> batch.inputs.shape, batch.targets.shape
      ((5, 21, 2), (5,))

    References:
      Martens and Sutskever, *Learning recurrent neural networks with Hessian-free
      optimization*, ICML 2011.
    """
    return _marked_pair(
        "xor",
        length,
        numbers=_bits,
        answer=lambda a, b: (a != b).astype(jnp.int32),
        output_size=2,
        loss=cross_entropy,
        is_wrong=wrong_class,
        chance_error=0.5,
        mean_outputs=2 * (-math.log(2),),
    )


def _marked_pair(
    name: str,
    length: Length,
    *,
    numbers: Callable[[jax.Array, tuple[int, int]], jax.Array],
    answer: Callable[[jax.Array, jax.Array], jax.Array],
    output_size: int,
    loss: Score,
    is_wrong: Score,
    chance_error: float,
    mean_outputs: tuple[float, ...],
    measures: Mapping[str, Score] = {},
) -> Task:
    """Makes a task about two marked numbers.

    A sequence of nominal length L has T steps, L <= T < 1.1 L. Its second channel
    holds numbers; the first is 1 at a step before 0.1 T and at one from there up to
    0.5 T, and 0 elsewhere.

    Args:
      name: of the task.
      length: nominal.
      numbers: draws those of all steps, float32 [batch, time], of mean 1/2.
      answer: takes the first and the second marked number, [batch] each.
      output_size: of the model.
      loss: of the task.
      is_wrong: of the task.
      chance_error: of the task.
      mean_outputs: of the task.
      measures: of the task.

    Returns:
      The task.
    """
    lengths = check_length(length, at_least=_MIN_LENGTH)
    time = _longest_time(lengths[1])
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
        means=Means((2 / _mean_time(lengths), 1 / 2), mean_outputs),
        measures=measures,
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


def _longest_time(length: int) -> int:
    """Steps of the longest sequence of this length; it is below 1.1 of it."""
    return max(length, -(-11 * length // 10) - 1)


def _mean_time(lengths: tuple[int, int]) -> float:
    """The mean number of steps of the sequences of these lengths."""
    drawn = range(lengths[0], lengths[1] + 1)
    return sum(length + _longest_time(length) for length in drawn) / (2 * len(drawn))


def _bits(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    return jax.random.randint(key, shape, 0, 2, jnp.int32).astype(jnp.float32)
