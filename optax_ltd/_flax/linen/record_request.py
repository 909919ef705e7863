"""Where a loop over time asks whether it is to be reported, and under which path."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
from flax.core import Scope

from optax_ltd._recurrent.flow.record import FlowRecords

Lead = tuple[int, ...]


def flow_record(
    scope: Scope | None,
    lead: Callable[[], Lead],
    flow_groups: Any,
    cell: Scope | None,
) -> FlowRecords | None:
    """The record of one call, if ``ltd.linen.value_and_grad`` is around it.

    Args:
      scope: of the module by whose path the call is reported.
      lead: gives time and batch axes of the call, or says why there are none.
      flow_groups: the option of the layer.
      cell: scope of the parameters of a step.
    """
    parent: Any = scope
    return RecordRequest(parent=parent).flow_record(lead, flow_groups, cell)


class RecordRequest(nn.Module):
    """A method that ``ltd.linen.value_and_grad`` intercepts, bound to a scope."""

    def flow_record(
        self, lead: Callable[[], Lead], flow_groups: Any, cell: Scope | None
    ) -> FlowRecords | None:
        """None, for no one asks for a report.

        Args:
          lead: gives time and batch axes of the call.
          flow_groups: the option of the layer.
          cell: scope of the parameters of a step.
        """
        del lead, flow_groups, cell
