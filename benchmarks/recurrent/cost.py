"""What Ω adds to the time of a training step of a recurrent layer.

One step is the forward pass, a loss at the last time step, the gradient of every
parameter and a step of gradient descent. The *floor* is the ratio that the count of
matrix products alone gives: 3 recurrent ones a time step for plain training, 5 with Ω
and 3 + 2ρ with Ω on a share ρ of the steps, with those of the inputs beside them
(`recurrent/product_counts.py`). A ratio can lie below it: a product over all steps at
once is faster than as many small ones, and the loop itself takes time. Differentiating
Ω through back-propagation takes 6 products where Ω as a tangent takes 5, so arithmetic
makes it at most a fifth dearer; the rest of what is seen is loops over time, four in
place of two, and memory.

    python -m benchmarks.recurrent.cost
"""

from typing import Any

import jax
import numpy as np

from benchmarks import records, timing
from benchmarks.cases import measure_each
from benchmarks.recurrent.contestants import torch_layer
from benchmarks.recurrent.contestants.training_steps import (
    STEP_SIZE,
    sample,
    training_steps,
)
from benchmarks.recurrent.settings import NNX, SETTINGS, Setting


def contestants(setting: Setting) -> dict[str, timing.Contestant]:
    """Compiles one training step of each contestant.

    Args:
      setting: the sizes.

    Returns:
      Contestants by name.
    """
    x = sample(setting)
    ready = {
        name: timing.compiled(*make(), x)
        for name, make in training_steps(setting).items()
    }
    if jax.default_backend() == "cpu":
        ready |= torch_layer.contestant(setting, np.asarray(x), STEP_SIZE)
    return ready


def run(setting: Setting, rounds: int) -> dict[str, Any]:
    """Measures one case.

    Args:
      setting: the sizes.
      rounds: timings of each contestant.

    Returns:
      The record.
    """
    entrants = contestants(setting)
    seconds = timing.interleave(entrants, rounds=rounds)
    return records.record(
        "recurrent_cost", setting._asdict(), entrants, seconds, measure=NNX
    )


if __name__ == "__main__":
    measure_each(SETTINGS, run, rounds=15, about=__doc__)
