"""Runs of gradients given by their norms alone, and what becomes of them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LENGTH = 96  # One length for all, so that a transformation is compiled once.
ORDERS = 2.0**90  # About 1e27: its square is beyond float32, and so is its inverse's.


def ordinary_norms(seed: int) -> np.ndarray:
    """Norms that vary by a few times, float32 [LENGTH]."""
    rng = np.random.default_rng(seed)
    return np.exp(0.5 * rng.normal(size=LENGTH)).astype(np.float32)


def faulty_norms(seed: int) -> np.ndarray:
    """The same with outliers, zeros, Inf and NaN strewn in."""
    norms = ordinary_norms(seed)
    faults = [1e6, 40, 1e9, 0, 0, np.inf, np.nan, np.inf, 5e-3, 1e-5, 30, np.nan]
    places = np.random.default_rng(seed + 1).permutation(LENGTH)[: len(faults)]
    norms[places] = faults
    return norms


def run(
    factory: Callable[..., Any], norms: Any, size: dict[str, int], **arguments: float
) -> tuple[np.ndarray, Any]:
    """The norms that come out for those that go in, and the state after each.

    Numbers are traced, so that a factory is compiled once for each size of its state.
    """
    assert norms.shape == (LENGTH,)
    numbers = {name: float(value) for name, value in arguments.items()}
    after, states = _run(factory, tuple(size.items()), numbers, jnp.asarray(norms))
    return np.asarray(after), jax.tree.map(np.asarray, states)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(factory: Any, size: Any, arguments: Any, gradients: jax.Array) -> Any:
    tx = factory(**dict(size), **arguments)

    def step(state: Any, gradient: jax.Array) -> Any:
        update, state = tx.update({"w": gradient[None]}, state)
        return state, (update["w"][0], state)

    return jax.lax.scan(step, tx.init({"w": gradients[:1]}), gradients)[1]


def counts(norm: float) -> bool:
    """Whether a norm enters the statistics."""
    return bool(np.isfinite(norm) and norm > 0)


def usual(norms: list[float]) -> np.ndarray:
    """Norms of a warm-up without those of more than ten times the median."""
    median = sorted(norms)[(len(norms) - 1) // 2]
    return np.array([norm for norm in norms if norm <= 10 * median])
