"""How programs of these tests are compiled."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """With few optimisations, on a CPU in half the time: for programs that run once.

    Not for those whose loops are counted, nor for those whose bits are compared with
    the bits of another process.
    """
    on_a_cpu = jax.default_backend() == "cpu"
    jax.config.update("jax_disable_most_optimizations", on_a_cpu)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
