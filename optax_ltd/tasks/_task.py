"""What every task has in common."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Sampler = Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]
Score = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem whose answer depends on the distant past.

    Everything in it is a pure function of arrays, so that a training loop can make
    its data on the device, inside ``jit``, ``vmap`` and ``lax.scan``. The same key
    gives the same batch on every platform.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.temporal_order(length=50)
      >>> _, targets = task.sample(jax.random.key(0), 100)
      >>> logits = jax.nn.one_hot(targets, task.output_size)  # of a perfect model
      >>> bool(jnp.any(task.is_wrong(logits, targets)))
      False

    Attributes:
      name: The task's name, as in the literature.
      length: Time steps in a sequence.
      input_size: Features of one time step.
      output_size: Numbers that the model must put out.
      sample: ``sample(key, batch_size) -> (inputs, targets)``; ``inputs`` is float32
        ``[batch, time, input_size]``.
      loss: ``loss(outputs, targets)``: the training loss, a scalar.
      is_wrong: ``is_wrong(outputs, targets)``: bool ``[batch]``, the sequences that
        were answered wrongly.
      chance_error: The share of wrong answers of a model that ignores its input.
      solved_below: The task counts as solved when a smaller share than this of
        ``test_size`` fresh sequences is wrong.
      test_size: How many fresh sequences that verdict needs.
    """

    name: str
    length: int
    input_size: int
    output_size: int
    sample: Sampler
    loss: Score
    is_wrong: Score
    chance_error: float
    solved_below: float = 0.01
    test_size: int = 10_000


def check_count(name: str, value: Any, *, at_least: int) -> int:
    """Requires an int of some size, and returns it.

    Args:
      name: The argument's name, for the message.
      value: What the caller gave.
      at_least: The smallest int allowed.

    Raises:
      ValueError: If the argument is anything else.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < at_least:
        came = f"{value!r} ({type(value).__name__})"
        raise ValueError(f"`{name}` must be an int >= {at_least}; got {came}.")
    return int(value)
