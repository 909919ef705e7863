"""What every task has in common."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp


class Batch(NamedTuple):
    """Some sequences of a task.

    Attributes:
      inputs: float32 [batch, time, input_size], zero beyond the end of a sequence.
      targets: int32 or float32; [batch, ...] where the answer is asked for after the
        last step, [batch, time, ...] where it is asked for at every step.
      lengths: int32 [batch]: steps of each sequence, as `FlowRNN` takes them for
        `seq_lengths`.
      mask: bool [batch, time]: the steps at which an answer counts.
    """

    inputs: jax.Array
    targets: jax.Array
    lengths: jax.Array
    mask: jax.Array


Sampler: TypeAlias = Callable[[jax.Array, int], Batch]
Score: TypeAlias = Callable[[jax.Array, Batch], jax.Array]
Readout: TypeAlias = Literal["last", "every"]


class Means(NamedTuple):
    """What is known of a task before any of its sequences is seen.

    Attributes:
      inputs: The mean input at a step inside a sequence, a number a feature.
      outputs: The best answer that does not look at the sequence, [output_size]: the
        mean target where it is a number; where it is a class, the logarithm of each
        one's share of the answers that count.
    """

    inputs: tuple[float, ...]
    outputs: tuple[float, ...]


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
      >>> batch = task.sample(jax.random.key(0), 100)
      >>> logits = jax.nn.one_hot(batch.targets, task.output_size)  # a perfect model
      >>> bool(jnp.any(task.is_wrong(logits, batch)))
      False

    Attributes:
      name: The task's name, as in the literature.
      length: What the literature calls its length T: the number, or the shortest and
        the longest.
      time: Time steps of a batch, which the longest sequence fills.
      input_size: Features of one time step.
      output_size: Numbers that the model must put out.
      readout: When: after the last step of a sequence, ``"last"``, as an array
        ``[batch, output_size]``; or at ``"every"`` step, as one
        ``[batch, time, output_size]``.
      sample: ``sample(key, batch_size) -> Batch``.
      loss: ``loss(outputs, batch)``: the training loss, a scalar.
      is_wrong: ``is_wrong(outputs, batch)``: bool ``[batch]``, the sequences that
        were answered wrongly.
      chance_error: The smallest share of wrong answers of a model that gives the same
        answer to every sequence.
      solved_below: The task counts as solved when a smaller share than this of
        ``test_size`` fresh sequences is wrong.
      test_size: How many fresh sequences that verdict needs.
      means: Of its inputs and outputs, if they are known.
      measures: What else there is to say of an answer, by name:
        ``measure(outputs, batch)``, float ``[batch]``, of which runs show the mean.
    """

    name: str
    length: int | tuple[int, int]
    time: int
    input_size: int
    output_size: int
    readout: Readout
    sample: Sampler
    loss: Score
    is_wrong: Score
    chance_error: float
    solved_below: float = 0.01
    test_size: int = 10_000
    means: Means | None = None
    measures: Mapping[str, Score] = dataclasses.field(default_factory=dict, hash=False)


def last(values: jax.Array, batch: Batch) -> jax.Array:
    """Values [batch, ...] after the last step, out of those of every step.

    Args:
      values: [batch, time, ...].
      batch: the sequences.

    Returns:
      [batch, ...], each from the last step of its own sequence.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> batch = ltd.tasks.addition((20, 40)).sample(jax.random.key(0), 8)
      >>> bool(ltd.tasks.last(batch.mask, batch).all())
      True
    """
    rows = jnp.arange(values.shape[0])
    return values[rows, batch.lengths - 1]
