"""The xor task: whether two marked bits differ."""

import jax
import jax.numpy as jnp

from optax_ltd.tasks._length import Length
from optax_ltd.tasks._marked_pair import marked_pair
from optax_ltd.tasks._scores import cross_entropy, wrong_class
from optax_ltd.tasks._task import Task


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
    return marked_pair(
        "xor",
        length,
        numbers=_bits,
        answer=lambda a, b: (a != b).astype(jnp.int32),
        output_size=2,
        loss=cross_entropy,
        is_wrong=wrong_class,
        chance_error=0.5,
    )


def _bits(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    return jax.random.randint(key, shape, 0, 2, jnp.int32).astype(jnp.float32)
