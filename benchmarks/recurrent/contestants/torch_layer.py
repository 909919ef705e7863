"""The same training step by PyTorch, if it is installed; on a GPU by cuDNN."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from benchmarks.recurrent.settings import CUDNN, TORCH, Setting
from optax_ltd.experiments.training.environment import cores


def contestant(
    setting: Setting, x: np.ndarray, step_size: float
) -> dict[str, timing.Contestant]:
    """PyTorch's layer of these sizes, by name; nothing without PyTorch.

    It has a second bias a gate. On a CPU it gets one thread or one a core, whichever is
    faster, and like XLA takes denormal numbers for zero, which an error signal soon is.
    On a GPU its step ends when the GPU has made it.

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
    platform = jax.default_backend()
    if platform == "cpu":
        return _on_a_cpu(torch, setting, x, step_size)
    if platform != "gpu" or not torch.cuda.is_available():
        print(f"This PyTorch has no {platform}: its row stays out")
        return {}
    return _on_a_gpu(torch, setting, x, step_size)


def _on_a_cpu(
    torch: Any, setting: Setting, x: np.ndarray, step_size: float
) -> dict[str, timing.Contestant]:
    torch.set_flush_denormal(True)
    step = _training_step(torch, setting, x, step_size, "cpu")

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        entrant = {"": timing.Contestant(step, ())}
        return float(timing.interleave(entrant, rounds=3, warmup=1)[""].min())

    threads = min({1, cores() or 1}, key=seconds)
    torch.set_num_threads(threads)
    name = f"{TORCH[setting.cell]}, threads: {threads}"
    return {name: timing.Contestant(step, ())}


def _on_a_gpu(
    torch: Any, setting: Setting, x: np.ndarray, step_size: float
) -> dict[str, timing.Contestant]:
    launch = _training_step(torch, setting, x, step_size, "cuda")

    def step(carry: Any) -> Any:
        launch(carry)
        torch.cuda.synchronize()
        return carry

    return {CUDNN[setting.cell]: timing.Contestant(step, ())}


def _training_step(
    torch: Any, setting: Setting, x: np.ndarray, step_size: float, device: str
) -> Callable[[Any], Any]:
    torch.manual_seed(0)
    made = getattr(torch.nn, TORCH[setting.cell].rpartition(".")[2])
    layer = made(setting.inputs, setting.hidden, batch_first=True).to(device)
    optimizer = torch.optim.SGD(layer.parameters(), lr=step_size)
    inputs = torch.from_numpy(np.array(x)).to(device)

    def step(carry: Any) -> Any:
        optimizer.zero_grad()
        outputs, _ = layer(inputs)
        outputs[:, -1].square().sum(dim=-1).mean().backward()
        optimizer.step()
        return carry

    return step
