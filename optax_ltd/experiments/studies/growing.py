"""What goes with sequences that grow: how tanh units learn them far."""

from collections.abc import Mapping
from typing import Any

# Of a config. Lengths, learning rates and the weight of Ω are the study's.
GROWING: Mapping[str, Any] = {
    "method": "clip-value+flow",
    "max_value": 0.03,
    "flow_reduction": "sum",
    "averaging": 0.995,
    "init": "orthogonal",
    "batch_size": 100,
}
