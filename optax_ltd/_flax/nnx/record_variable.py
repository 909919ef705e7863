"""The variable through which a layer's backward pass tells what it saw."""

from flax import nnx

from optax_ltd._flax.sequences import check_same_lead
from optax_ltd._recurrent.flow.record import FlowRecord


class FlowRecordVariable(nnx.Variable):
    """Zeros whose cotangent is what the backward pass saw of the error signal."""


def record_of(
    variable: FlowRecordVariable | None, lead: tuple[int, ...]
) -> FlowRecord | None:
    """The record of one call, made at the first look at its shape.

    Args:
      variable: of the layer, or None if nobody asks.
      lead: time and batch axes of the call.

    Returns:
      Zeros for :func:`~optax_ltd.unroll`, or None.

    Raises:
      ValueError: if an earlier call had other axes.
    """
    if variable is None:
        return None
    record = FlowRecord(*variable.get_value())
    if record.gains.size == 0:
        record = FlowRecord.zeros(lead)
        variable.set_value(record)
    check_same_lead(record.gains.shape, lead)
    return record
