"""A task with the means of its inputs and targets taken away."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from optax_ltd._numerics.checks import refusal
from optax_ltd.tasks._sampling import compiled
from optax_ltd.tasks._task import Batch, Means, Score, Task


def centred(task: Task, *, by: Task | None = None) -> Task:
    """Returns a task whose inputs have mean zero and of which zero is the mean answer.

    From the input of each step inside a sequence the mean input of the task is
    subtracted, a number a feature: its expectation, not the mean of a batch. What a
    model puts out is added to the answer that is best without a look at the sequence,
    so that one that puts out zeros gives that answer and need not learn it first: of
    numbers their mean, as if it had been subtracted from the targets; of classes the
    logarithms of their frequencies. The targets themselves, and which answers are
    wrong, stay as they are.

    Positive inputs drive the hidden state in one direction until it saturates, and an
    output bias that is off is mended first, by holding the hidden state constant: of
    the tasks of Sutskever et al. multiplication was not learned without this.

    Args:
      task: Any of those here but ``random_permutation`` and ``text``, some of whose
        classes are never the answer.
      by: The task whose means are subtracted, if not its own: where a network learns
        at one length and is tested at another, the one it learns.

    Returns:
      The task, with inputs, targets and outputs of the same shapes and types.

    Raises:
      ValueError: If the means are not known, or are those of another kind of task.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.centred(ltd.tasks.multiplication(length=100))
      >>> batch = task.sample(jax.random.key(0), 1000)
      >>> bool(jnp.all(jnp.abs(batch.inputs.mean((0, 1))) < 0.01))
      True
      >>> zeros = jnp.zeros((1000, 1))
      >>> bool(task.loss(zeros, batch) < task.loss(zeros + 0.1, batch))
      True

    References:
      Sutskever, Martens, Dahl and Hinton, *On the importance of initialization and
      momentum in deep learning*, ICML 2013, sections 4.1 and A.5.
    """
    own = _means("task", task)
    of = task if by is None else by
    taken = _means("by", of)
    if of.name != task.name or list(map(len, own)) != list(map(len, taken)):
        raise refusal("by", f"a task of the same kind, {task.name}", of.name)
    mean_input, mean_output = (np.asarray(mean, np.float32) for mean in taken)

    @compiled
    def sample(key: jax.Array, batch_size: int) -> Batch:
        batch = task.sample(key, batch_size)
        inside = jnp.arange(task.time) < batch.lengths[:, None]
        inputs = jnp.where(inside[..., None], batch.inputs - mean_input, 0)
        return batch._replace(inputs=inputs)

    def of_whole(score: Score) -> Score:
        return lambda outputs, batch: score(outputs + mean_output, batch)

    left = Means(
        *(
            tuple(x - y for x, y in zip(of, by, strict=True))
            for of, by in zip(own, taken, strict=True)
        )
    )
    return dataclasses.replace(
        task,
        sample=sample,
        loss=of_whole(task.loss),
        is_wrong=of_whole(task.is_wrong),
        measures={name: of_whole(score) for name, score in task.measures.items()},
        means=left,
    )


def _means(name: str, task: Task) -> Means:
    if task.means is None:
        raise refusal(name, "a task whose means are known", task.name)
    return task.means
