"""Draws that tasks share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import check_count
from optax_ltd.tasks._task import Batch, Sampler

# Takes a key and the nominal lengths, int32 [batch]; returns inputs, targets and how
# many steps each sequence has.
Draw: TypeAlias = Callable[
    [jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]
]


def sampler(draw: Draw, lengths: tuple[int, int]) -> Sampler:
    """Makes the sampler of a task that is answered after the last step.

    Args:
      draw: draws sequences of given lengths, padded to the longest.
      lengths: the shortest and the longest.

    Returns:
      A function of a key and a batch size.
    """

    @compiled
    def sample(key: jax.Array, batch_size: int) -> Batch:
        key, drawn = sequence_lengths(key, batch_size, lengths)
        inputs, targets, steps = draw(key, drawn)
        time = jnp.arange(inputs.shape[1])
        inside = time < steps[:, None]
        inputs = jnp.where(inside[..., None], inputs, 0)
        return Batch(inputs, targets, steps, time == steps[:, None] - 1)

    return sample


def compiled(sample: Sampler) -> Sampler:
    """A sampler that is one compiled program outside of ``jit`` too.

    Dozens of operations one by one would be compiled one by one.
    """
    program = jax.jit(sample, static_argnums=1)

    def checked(key: jax.Array, batch_size: int) -> Batch:
        return program(key, check_count("batch_size", batch_size, at_least=1))

    return checked


def sequence_lengths(
    key: jax.Array, batch_size: int, lengths: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """Draws lengths, int32 [batch]; the key returned is for everything else."""
    shortest, longest = lengths
    if shortest == longest:
        return key, jnp.full((batch_size,), longest, jnp.int32)
    key, length_key = jax.random.split(key)
    shape = (batch_size,)
    return key, jax.random.randint(length_key, shape, shortest, longest + 1, jnp.int32)


def nominal(lengths: tuple[int, int]) -> int | tuple[int, int]:
    """A shortest and a longest length, or the only one."""
    return lengths[0] if lengths[0] == lengths[1] else lengths


def mean_length(lengths: tuple[int, int]) -> float:
    """The mean of the lengths that `sequence_lengths` draws."""
    return sum(lengths) / 2


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Numbers from (0, 1), float32 whatever the precision that JAX is set to."""
    return jax.random.uniform(key, shape, jnp.float32)


def integers(key: jax.Array, ranges: Sequence[tuple[Any, Any]], batch: int) -> Any:
    """Draws integers from several ranges at once, as each draw takes long to compile.

    Args:
      key: the key.
      ranges: first number and first beyond, of each column; ints or int32 [batch].
      batch: how many rows.

    Returns:
      int32 [batch, len(ranges)].
    """
    low, high = (
        jnp.stack(
            [jnp.broadcast_to(jnp.asarray(x, jnp.int32), (batch,)) for x in bounds], 1
        )
        for bounds in zip(*ranges, strict=True)
    )
    return jax.random.randint(key, low.shape, low, high, jnp.int32)


def tenth(n: int, length: Any) -> tuple[Any, Any]:
    """The steps from n/10 of the length to (n + 1)/10 of it: start, stop."""
    # Ceilings in integers: 0.6 * 50 in floating point could admit or lose a step.
    return -(-n * length // 10), -(-(n + 1) * length // 10)
