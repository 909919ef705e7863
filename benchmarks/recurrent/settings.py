"""Sizes, contestants and targets of the recurrent benchmarks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NNX = "nnx.RNN"
NNX_4 = "nnx.RNN, unroll=4"
NNX_16 = "nnx.RNN, unroll=16"
NNX_HALF = "nnx.RNN, bfloat16"
LINEN = "linen.RNN"
OFF = "FlowRNN, Ω off"
ON = "FlowRNN, Ω on"
ON_1 = "FlowRNN, Ω on, unroll=1"
QUARTER = "FlowRNN, Ω on a quarter of the steps"
REMAT = "FlowRNN, Ω on, remat"
VMAPPED = "Ω by a vmapped vjp in the loss"
ON_HALF = "FlowRNN, Ω on, bfloat16"
NAIVE = "Ω differentiated through back-propagation"
TORCH = {
    "SimpleCell": "torch.nn.RNN",
    "GRUCell": "torch.nn.GRU",
    "OptimizedLSTMCell": "torch.nn.LSTM",
}
CUDNN = {cell: f"{layer}, cuDNN" for cell, layer in TORCH.items()}


class Setting(NamedTuple):
    """Sizes of one case."""

    cell: str
    time: int
    batch: int
    hidden: int
    inputs: int


SETTINGS = (
    Setting("SimpleCell", 200, 20, 50, 6),
    Setting("SimpleCell", 1000, 32, 128, 6),
    Setting("GRUCell", 400, 32, 128, 6),
    Setting("OptimizedLSTMCell", 200, 32, 512, 512),
)
SMALLEST, LARGEST = SETTINGS[0], SETTINGS[-1]
TINY = Setting("SimpleCell", 6, 3, 4, 2)

LONG = Setting("SimpleCell", 100_000, 8, 64, 6)
MEMORY_SETTINGS = (*SETTINGS, LONG)

LENGTHS = (100, 316, 1000, 3162, 10000)
LENGTH_SETTINGS = tuple(
    Setting(cell, time, 20, 50, 6)
    for cell in ("SimpleCell", "GRUCell")
    for time in LENGTHS
)
ACCELERATOR_LENGTH_SETTINGS = tuple(
    setting for setting in LENGTH_SETTINGS if setting.time in LENGTHS[::2]
)


class Target(NamedTuple):
    """A ratio of training times to reach.

    Attributes:
      contestant: whose time is divided.
      measures: by the least time of these.
      limit: the ratio to reach.
      at_least: whether the limit is one from below.
      exceptions: settings with another limit.
      platform: where it holds; everywhere if None.
    """

    contestant: str
    measures: tuple[str, ...]
    limit: float
    at_least: bool = False
    exceptions: Mapping[Setting, float] = MappingProxyType({})
    platform: str | None = None

    def limit_at(self, setting: Setting) -> float:
        """The limit in a setting."""
        return self.exceptions.get(setting, self.limit)

    def reached(self, ratio: float, setting: Setting) -> bool:
        """Whether a ratio is on the right side of the limit."""
        limit = self.limit_at(setting)
        return ratio >= limit if self.at_least else ratio <= limit


TARGETS = (
    Target(OFF, (NNX,), 1.0),
    Target(OFF, (LINEN,), 1.0),
    Target(ON, (NNX,), 1.6, exceptions={SMALLEST: 1.3}),
    Target(QUARTER, (NNX,), 1.15),
    Target(NAIVE, (ON,), 2.5, at_least=True),
    Target(ON, (OFF,), 1.1, platform="gpu"),
    Target(ON, (NNX, NNX_4, NNX_16), 0.75, platform="gpu"),
    Target(ON, tuple(CUDNN.values()), 2.0, exceptions={LARGEST: 0.75}, platform="gpu"),
)
MEMORY_TARGET = Target(ON, (OFF,), 1.5)
