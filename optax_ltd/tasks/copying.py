"""The delayed copying task."""

from optax_ltd.tasks._length import Length
from optax_ltd.tasks._recall import recall
from optax_ltd.tasks._task import Task


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
    return recall("copying", length, values=8, count=10)
