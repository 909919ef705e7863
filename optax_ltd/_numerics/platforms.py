"""What runs otherwise on a GPU."""

from collections.abc import Callable
from typing import Any

from jax import lax


def unless_on_gpu(
    elsewhere: Callable[..., Any], on_gpu: Callable[..., Any], *args: Any
) -> Any:
    """``elsewhere(*args)``, or on a GPU the same by ``on_gpu``.

    The platform is the one that the program is lowered for, which need not be one of
    the host that traces it.

    Args:
      elsewhere: a function of trees of arrays.
      on_gpu: another one, whose results are of the same shapes and dtypes.
      *args: what both are given.
    """
    return lax.platform_dependent(*args, cuda=on_gpu, rocm=on_gpu, default=elsewhere)
