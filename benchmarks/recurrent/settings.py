"""Sizes, contestants and targets of the recurrent benchmarks."""

from typing import NamedTuple

NNX = "nnx.RNN"
LINEN = "linen.RNN"
OFF = "FlowRNN, Ω off"
ON = "FlowRNN, Ω on"
QUARTER = "FlowRNN, Ω on a quarter of the steps"
REMAT = "FlowRNN, Ω on, remat"
VMAPPED = "Ω by a vmapped vjp in the loss"
NAIVE = "Ω differentiated through back-propagation"


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

LONG = Setting("SimpleCell", 100_000, 8, 64, 6)
MEMORY_SETTINGS = (*SETTINGS, LONG)

LENGTHS = (100, 316, 1000, 3162, 10000)
LENGTH_SETTINGS = tuple(
    Setting(cell, time, 20, 50, 6)
    for cell in ("SimpleCell", "GRUCell")
    for time in LENGTHS
)


class Target(NamedTuple):
    """A ratio of training times to reach.

    Attributes:
      contestant: whose time is divided.
      measure: by whose.
      limit: the ratio to reach.
      at_least: whether the limit is one from below.
      first: another limit for the first of SETTINGS, or None.
      platform: where it holds; everywhere if None.
    """

    contestant: str
    measure: str
    limit: float
    at_least: bool = False
    first: float | None = None
    platform: str | None = None

    def limit_at(self, setting: Setting) -> float:
        """The limit at one of SETTINGS."""
        special = self.first is not None and setting == SETTINGS[0]
        return self.first if special and self.first is not None else self.limit

    def reached(self, ratio: float, setting: Setting) -> bool:
        """Whether a ratio is on the right side of the limit."""
        limit = self.limit_at(setting)
        return ratio >= limit if self.at_least else ratio <= limit


TARGETS = (
    Target(OFF, NNX, 1.0),
    Target(OFF, LINEN, 1.0),
    Target(ON, NNX, 1.6, first=1.3),
    Target(QUARTER, NNX, 1.15),
    Target(NAIVE, ON, 2.5, at_least=True),
    Target(ON, OFF, 1.2, platform="gpu"),
)
MEMORY_TARGET = Target(ON, OFF, 1.5)
