"""The multiplication task: the product of two marked numbers."""

import math

from optax_ltd.tasks._length import Length
from optax_ltd.tasks._marked_pair import marked_pair
from optax_ltd.tasks._sampling import uniform
from optax_ltd.tasks._scores import Criterion, squared_error, tolerance, wrong_number
from optax_ltd.tasks._task import Task


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
    return marked_pair(
        "multiplication",
        length,
        numbers=uniform,
        answer=lambda a, b: a * b,
        output_size=1,
        loss=squared_error,
        is_wrong=wrong_number(criterion),
        chance_error=1 - (covered - covered * math.log(covered)),
    )
