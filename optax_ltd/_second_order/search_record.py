"""What is told of the search for a step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._second_order.levenberg_marquardt import LEAST_DAMPING, MOST_DAMPING
from optax_ltd._transforms.records.record import increment


class SearchRecord(NamedTuple):
    """What is known of the searches for a step.

    Attributes:
      damping: λ that the next update begins with.
      reduction_ratio: ρ of the last step that was proposed: the change of the loss over
        the one predicted; 0 where the model predicted no reduction, and -Inf where the
        loss after the step is not finite.
      cg_iterations: conjugate gradient iterations of the last update.
      loss_evaluations: how often the last update asked for the loss.
      negative_curvature_count: updates that met a direction of curvature zero or below.
      refused_nonfinite: updates without a step because the gradient, the loss or a
        product was not finite.
      refused_no_decrease: updates without a step because none lowered the loss.
      damping_held_count: updates that would have led λ out of its range.
    """

    damping: jax.Array
    reduction_ratio: jax.Array
    cg_iterations: jax.Array
    loss_evaluations: jax.Array
    negative_curvature_count: jax.Array
    refused_nonfinite: jax.Array
    refused_no_decrease: jax.Array
    damping_held_count: jax.Array


def init_search(damping: jax.Array | float) -> SearchRecord:
    """A record of no search; every array is a fresh one."""
    start = jnp.clip(jnp.asarray(damping, float), LEAST_DAMPING, MOST_DAMPING)
    counts = [jnp.zeros((), jnp.int32) for _ in range(6)]
    return SearchRecord(jnp.array(start), jnp.zeros((), float), *counts)


class Search(NamedTuple):
    """One search.

    Attributes:
      damping: λ after it.
      reduction_ratio: ρ.
      cg_iterations: of this search.
      loss_evaluations: of this search.
      negative_curvature: whether it met such a direction.
      nonfinite: whether there is no step as something was not finite.
      no_decrease: whether there is none as none lowered the loss.
      held: whether λ was held.
    """

    damping: jax.Array
    reduction_ratio: jax.Array
    cg_iterations: jax.Array
    loss_evaluations: jax.Array
    negative_curvature: jax.Array
    nonfinite: jax.Array
    no_decrease: jax.Array
    held: jax.Array


def update_search(record: SearchRecord, search: Search) -> SearchRecord:
    """Adds one search to a record, keeping the dtype of every field."""
    numbers = [x.astype(y.dtype) for x, y in zip(search[:4], record[:4], strict=True)]
    counts = [increment(y, x) for x, y in zip(search[4:], record[4:], strict=True)]
    return SearchRecord(*[*numbers, *counts])
