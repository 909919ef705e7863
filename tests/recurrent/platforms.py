"""A CPU that takes the way of another platform."""

from typing import Any

import jax
import pytest

from optax_ltd._recurrent.loop import time_loop


def take_steps_as_on_gpu(monkeypatch: pytest.MonkeyPatch, steps: int = 4) -> None:
    """Lets loops for the CPU take so many steps in a turn, where a GPU would."""
    by_platform = jax.lax.platform_dependent

    def as_on_gpu(*args: Any, cuda: Any, rocm: Any, default: Any) -> Any:
        assert rocm is cuda
        return by_platform(*args, cpu=cuda, default=default)

    monkeypatch.setattr(jax.lax, "platform_dependent", as_on_gpu)
    monkeypatch.setattr(time_loop, "steps_on_gpu", lambda *_: steps)
