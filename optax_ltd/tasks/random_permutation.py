"""The random permutation task: what was the first symbol?"""

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length, check_length
from optax_ltd.tasks._sampling import integers, nominal, sampler
from optax_ltd.tasks._scores import cross_entropy, wrong_class
from optax_ltd.tasks._task import Task

_NUM_SYMBOLS = 100
_NUM_FIRST = 2  # those that may come first, and never again


def random_permutation(length: Length = 50) -> Task:
    """Returns the random permutation task.

    A sequence of ``length`` symbols, one-hot among 100. The first one is 0 or 1, all
    others are drawn from 2 to 99. After the last step the model must say the first
    one, whose trace 98 distractors do their best to wipe out.

    The model's outputs are logits float ``[batch, 100]``; targets are int32
    ``[batch]``.

    Args:
      length: Time steps in a sequence, 2 or more; or the shortest and the longest, of
        which each sequence draws its own.

    Returns:
      The task, with inputs float32 ``[batch, length, 100]``.

    Raises:
      ValueError: If ``length`` is no int of at least 2 and no pair of them, or, when
        sampling, if ``batch_size`` is no int of at least 1.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> task = ltd.tasks.random_permutation(length=50)
      >>> batch = task.sample(jax.random.key(0), 4)
      >>> bool((batch.inputs[:, 0].argmax(-1) == batch.targets).all())
      True

    References:
      Hochreiter and Schmidhuber, *Long short-term memory*, 1997, task 2b;
      Martens and Sutskever, *Learning recurrent neural networks with Hessian-free
      optimization*, ICML 2011.
    """
    lengths = check_length(length, at_least=2)
    time = lengths[1]

    def draw(
        key: jax.Array, steps: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        others = (time - 1) * [(_NUM_FIRST, _NUM_SYMBOLS)]
        symbols = integers(key, [(0, _NUM_FIRST), *others], steps.shape[0])
        inputs = jax.nn.one_hot(symbols, _NUM_SYMBOLS, dtype=jnp.float32)
        return inputs, symbols[:, 0], steps

    return Task(
        name="random permutation",
        length=nominal(lengths),
        time=time,
        input_size=_NUM_SYMBOLS,
        output_size=_NUM_SYMBOLS,
        readout="last",
        sample=sampler(draw, lengths),
        loss=cross_entropy,
        is_wrong=wrong_class,
        chance_error=1 - 1 / _NUM_FIRST,
    )
