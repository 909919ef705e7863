"""Which steps were skipped, and why."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._transforms.records.record import increment

NO_LIMIT = jnp.iinfo(jnp.int32).max


class SkipRecord(NamedTuple):
    """What is known of the steps that were skipped. A step counts under one cause.

    Attributes:
      skipped_nonfinite: steps with an Inf or a NaN in the gradient, or as the loss.
      skipped_max_norm: of the others, those with a norm above `max_norm`.
      skipped_norm_zscore: of the others, those with a norm too far above the recent
        ones.
      skipped_loss_zscore: of the others, those with a loss too far above them.
      skipped_run: how many skipped steps came last, without an accepted one after.
      last_skipped_update: number of the last update that was skipped, counted from 0;
        -1 if none was.
      max_consecutive: how many of these are too many; `NO_LIMIT` if none are.
    """

    skipped_nonfinite: jax.Array
    skipped_max_norm: jax.Array
    skipped_norm_zscore: jax.Array
    skipped_loss_zscore: jax.Array
    skipped_run: jax.Array
    last_skipped_update: jax.Array
    max_consecutive: jax.Array

    @property
    def causes(self) -> tuple[jax.Array, ...]:
        """The counts by cause, in the order in which a step is judged."""
        return self[:4]


def init_skips(max_consecutive: int | None) -> SkipRecord:
    """A record of no skipped step; every array is a fresh one."""
    counts = [jnp.zeros((), jnp.int32) for _ in range(5)]
    limit = NO_LIMIT if max_consecutive is None else max_consecutive
    last, limit = (jnp.full((), number, jnp.int32) for number in (-1, limit))
    return SkipRecord(*[*counts, last, limit])


def update_skips(
    skips: SkipRecord, causes: Sequence[jax.Array], number: jax.Array
) -> tuple[jax.Array, SkipRecord]:
    """Adds one step to a record.

    Args:
      skips: the record so far.
      causes: whether the step is to be skipped for each cause, in their order.
      number: of the update, counted from 0.

    Returns:
      Whether the step is skipped, and the new record.
    """
    skip, counts = jnp.zeros_like(causes[0]), []
    for count, cause in zip(skips.causes, causes, strict=True):
        counts.append(increment(count, cause & ~skip))
        skip |= cause
    run = jnp.where(skip, increment(skips.skipped_run), 0)
    last = jnp.where(skip, number, skips.last_skipped_update)
    return skip, SkipRecord(*[*counts, run, last, skips.max_consecutive])
