"""The addition task: the mean of two marked numbers."""

from optax_ltd.tasks._length import Length
from optax_ltd.tasks._marked_pair import marked_pair
from optax_ltd.tasks._sampling import uniform
from optax_ltd.tasks._scores import Criterion, squared_error, tolerance, wrong_number
from optax_ltd.tasks._task import Task


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
    return marked_pair(
        "addition",
        length,
        numbers=uniform,
        answer=lambda a, b: (a + b) / 2,
        output_size=1,
        loss=squared_error,
        is_wrong=wrong_number(criterion),
        # Nobody does better than 1/2, whose error has a triangular density.
        chance_error=(1 - 2 * tolerance(criterion)) ** 2,
    )
