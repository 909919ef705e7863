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

*bfloat16* is mixed precision as Flax has it: the cell computes with
`dtype=jnp.bfloat16`, the parameters are float32. On a GPU cuDNN's layers are peers too,
by PyTorch and, for an LSTM, by `jax.experimental.rnn`; float32 products are there as
exact as each library makes them by default, which on newer GPUs is TF32.

    python -m benchmarks.recurrent.cost
"""

from typing import Any

import numpy as np

from benchmarks import records, timing
from benchmarks.cases import measure_each
from benchmarks.recurrent.contestants import torch_layer
from benchmarks.recurrent.contestants.training_steps import (
    STEP_SIZE,
    sample,
    training_steps,
)
from benchmarks.recurrent.settings import NNX, SETTINGS, TINY, Setting


def contestants(
    setting: Setting,
) -> tuple[dict[str, timing.Contestant], dict[str, str]]:
    """Compiles one training step of each contestant.

    Args:
      setting: the sizes.

    Returns:
      Contestants by name; and what those raised that cannot make the step.
    """
    x = sample(setting)
    ready, failed = {}, {}
    for name, make in training_steps(setting).items():
        try:
            ready[name] = timing.compiled(*make(), x)
        except Exception as error:  # One that cannot must not cost the others theirs.
            if name.startswith("FlowRNN"):
                raise
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return ready | torch_layer.contestant(setting, np.asarray(x), STEP_SIZE), failed


def run(setting: Setting, rounds: int) -> dict[str, Any]:
    """Measures one case.

    Args:
      setting: the sizes.
      rounds: timings of each contestant.

    Returns:
      The record.
    """
    entrants, failed = contestants(setting)
    seconds = timing.interleave(entrants, rounds=rounds)
    case = setting._asdict()
    return records.record(
        "recurrent_cost", case, entrants, seconds, measure=NNX, failed=failed
    )


if __name__ == "__main__":
    measure_each(
        SETTINGS, run, rounds=15, about=__doc__, accelerator=SETTINGS, tiny=[TINY]
    )
