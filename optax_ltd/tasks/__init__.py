"""Tasks on which long-term dependencies are measured, sampled on the device."""

from optax_ltd.tasks._task import Batch, Means, Task, last
from optax_ltd.tasks.adding import adding
from optax_ltd.tasks.centred import centred
from optax_ltd.tasks.marked_pair import addition, multiplication, xor
from optax_ltd.tasks.random_permutation import random_permutation
from optax_ltd.tasks.recall import copying, memorization_5bit, memorization_20bit
from optax_ltd.tasks.temporal_order import temporal_order, temporal_order_3bit
from optax_ltd.tasks.text import text

__all__ = [
    "Batch",
    "Means",
    "Task",
    "adding",
    "addition",
    "centred",
    "copying",
    "last",
    "memorization_5bit",
    "memorization_20bit",
    "multiplication",
    "random_permutation",
    "temporal_order",
    "temporal_order_3bit",
    "text",
    "xor",
]
