"""Clips a gradient to a threshold and puts down what was done."""

from typing import Any

from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._transforms._record import GradientRecord, update_record
from optax_ltd._transforms._rescale import map_inexact, rescaling


def clip(
    updates: Any, measured: TreeNorm, threshold: Any, record: GradientRecord
) -> tuple[Any, GradientRecord]:
    """Brings a gradient down to a norm if it is finite and above.

    Args:
      updates: the gradient.
      measured: its norm.
      threshold: the largest norm.
      record: of the gradients so far.

    Returns:
      The clipped gradient, and the record with this one added.
    """
    rescale = rescaling(measured, threshold)
    record = update_record(
        record, updates, measured, scale=rescale.scale, clipped=rescale.clipped
    )
    return map_inexact(rescale, updates), record
