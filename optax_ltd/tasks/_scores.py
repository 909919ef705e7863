"""Losses and verdicts on answers."""

from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import check_choice
from optax_ltd.tasks._task import Batch, Score

Criterion: TypeAlias = Literal["squared", "absolute"]

TOLERANCE = 0.04


def cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
    """Mean cross-entropy, in nats, over the answers that count.

    Args:
      logits: [batch, classes] against targets [batch], or with a time axis both.
      batch: the sequences.
    """
    log_probabilities = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probabilities, batch.targets[..., None], axis=-1)
    if batch.targets.ndim == 1:
        return -jnp.mean(chosen)
    return -jnp.sum(chosen[..., 0] * batch.mask) / jnp.sum(batch.mask)


def wrong_class(logits: jax.Array, batch: Batch) -> jax.Array:
    """Whether the likeliest class is wrong, or NaN, at any step that counts."""
    wrong = not_likeliest(logits, batch.targets)
    return wrong if wrong.ndim == 1 else jnp.any(wrong & batch.mask, axis=1)


def wrong_steps(logits: jax.Array, batch: Batch) -> jax.Array:
    """At how many of the steps that count that is so, float [batch]."""
    wrong = not_likeliest(logits, batch.targets) & batch.mask
    return jnp.sum(wrong, axis=1, dtype=jnp.float32)


def not_likeliest(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Whether logits [..., classes] are largest at another class, or hold a NaN."""
    # argmax would take a NaN for the largest.
    return (jnp.argmax(logits, -1) != targets) | jnp.isnan(logits).any(-1)


def squared_error(outputs: jax.Array, batch: Batch) -> jax.Array:
    """Mean squared error of outputs [batch, 1] against targets [batch]."""
    return jnp.mean(jnp.square(outputs[:, 0] - batch.targets))


def wrong_number(criterion: Criterion) -> Score:
    """Whether an answer is off by more than .04, its square or itself, or is NaN.

    Args:
      criterion: `"squared"`, as in the code of Pascanu et al. (2013), or
        `"absolute"`, as in Hochreiter and Schmidhuber (1997).

    Raises:
      ValueError: If it is neither.
    """
    check_choice("criterion", criterion, get_args(Criterion))
    power = 2 if criterion == "squared" else 1

    def is_wrong(outputs: jax.Array, batch: Batch) -> jax.Array:
        error = jnp.abs(outputs[:, 0] - batch.targets) ** power
        return ~(error <= TOLERANCE)  # NaN compares as false

    return is_wrong


def by_each_criterion() -> dict[str, Score]:
    """The measures of a number: whether it is wrong, by either criterion."""

    def measure(criterion: Criterion) -> Score:
        is_wrong = wrong_number(criterion)
        return lambda outputs, batch: is_wrong(outputs, batch).astype(jnp.float32)

    return {criterion: measure(criterion) for criterion in get_args(Criterion)}


def tolerance(criterion: Criterion) -> float:
    """How far off an answer may be."""
    return TOLERANCE**0.5 if criterion == "squared" else TOLERANCE
