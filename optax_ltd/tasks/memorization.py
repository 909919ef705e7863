"""The noiseless memorisation tasks: repeat a short string much later."""

from optax_ltd.tasks._length import Length
from optax_ltd.tasks._recall import recall
from optax_ltd.tasks._task import Task


def memorization_5bit(length: Length = 50) -> Task:
    """Returns the noiseless 5-bit memorisation task.

    First come 5 symbols of 2 values, then ``length`` blanks, of which the last one is
    the cue, then 5 blanks in which the model must repeat the symbols in their order.
    Before, it must answer that there is nothing to say, class 2. A sequence counts as
    wrong if any of its steps was answered wrongly.

    Inputs are one-hot among the values, the blank and the cue. The model's outputs are
    logits float ``[batch, time, 3]`` at every step; targets are int32
    ``[batch, time]``.

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
    return recall("5-bit memorization", length, values=2, count=5)


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
    return recall("20-bit memorization", length, values=5, count=10)
