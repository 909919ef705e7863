"""The variable through which a layer's backward pass tells what it saw."""

from typing import Any

from flax import nnx

from optax_ltd._flax.sequences import check_same_lead
from optax_ltd._recurrent.flow.record import (
    FlowRecords,
    empty_records,
    leading_axes,
)

# The axes of a record whose layer has not been called.
UNSEEN = (0, 0)


class FlowRecordVariable(nnx.Variable):
    """Zeros whose cotangent is what the backward pass saw of the error signal."""


def record_of(
    variable: FlowRecordVariable | None, flow_groups: Any, lead: tuple[int, ...]
) -> FlowRecords | None:
    """The record of one call, made at the first look at its shape.

    Args:
      variable: of the layer, or None if nobody asks.
      flow_groups: of the layer.
      lead: time and batch axes of the call.

    Returns:
      Zeros for :func:`~optax_ltd.unroll`, or None.

    Raises:
      ValueError: if an earlier call had other axes.
    """
    if variable is None:
        return None
    records = variable.get_value()
    if leading_axes(records) == UNSEEN:
        records = empty_records(flow_groups, lead)
        variable.set_value(records)
    check_same_lead(leading_axes(records), lead)
    return records
