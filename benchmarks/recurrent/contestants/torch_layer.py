"""The same training step by PyTorch on the CPU, if it is installed."""

from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.recurrent.settings import Setting
from optax_ltd.experiments.training.environment import cores

LAYERS = {"SimpleCell": "RNN", "GRUCell": "GRU", "OptimizedLSTMCell": "LSTM"}


def contestant(
    setting: Setting, x: np.ndarray, step_size: float
) -> dict[str, timing.Contestant]:
    """PyTorch's layer of these sizes, by name; nothing without PyTorch.

    It has a second bias a gate. It gets one thread or one a core, whichever is faster,
    and like XLA takes denormal numbers for zero, which an error signal soon is.

    Args:
      setting: the sizes.
      x: ``[batch, time, inputs]``.
      step_size: of gradient descent.

    Returns:
      One contestant or none.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("PyTorch is not installed: its row stays out")
        return {}
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    name = LAYERS[setting.cell]
    made: Any = getattr(torch.nn, name)
    layer = made(setting.inputs, setting.hidden, batch_first=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=step_size)
    inputs = torch.from_numpy(np.array(x))

    def step(carry: Any) -> Any:
        optimizer.zero_grad()
        outputs, _ = layer(inputs)
        outputs[:, -1].square().sum(dim=-1).mean().backward()
        optimizer.step()
        return carry

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        entrant = {"": timing.Contestant(step, ())}
        return float(timing.interleave(entrant, rounds=3, warmup=1)[""].min())

    threads = min({1, cores() or 1}, key=seconds)
    torch.set_num_threads(threads)
    return {f"torch.nn.{name}, threads: {threads}": timing.Contestant(step, ())}
