"""The static choices of a scan with Ω."""

import dataclasses

from optax_ltd._recurrent.carry_clip import CarryClip
from optax_ltd._recurrent.flow.information_flow import FlowForm, FlowReduction


@dataclasses.dataclass(frozen=True)
class ScanOptions:
    """What the backward pass of a scan with Ω is told before it is traced.

    Attributes:
      form: ``"ratio"`` or ``"squared_ratio"``.
      reduction: ``"sum"`` or ``"mean"`` over time.
      num_batch_dims: how many axes after time are batch.
      carry_clip: what bounds the error signal at each step, or None.
      truncate: steps in a window of truncated back-propagation, or None.
      unroll: steps unrolled in each loop.
    """

    form: FlowForm
    reduction: FlowReduction
    num_batch_dims: int
    carry_clip: CarryClip | None
    truncate: int | None
    unroll: int
