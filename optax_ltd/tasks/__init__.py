"""Tasks on which long-term dependencies are measured, sampled on the device."""

from optax_ltd.tasks._task import Task
from optax_ltd.tasks.temporal_order import temporal_order

__all__ = ["Task", "temporal_order"]
