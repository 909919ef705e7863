"""The cells, data and losses that the tests of the recurrent half run on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

T, B, H, F = 6, 3, 4, 2


def simple(p: Any, h: Any, x: Any) -> Any:
    h = jnp.tanh(x @ p["U"] + p["b"] + h @ p["W"])
    return h, h


def gru(p: Any, h: Any, x: Any) -> Any:
    a, g = x @ p["U"] + p["b"], h @ p["W"]
    r, z = (jax.nn.sigmoid(a[..., i : i + H] + g[..., i : i + H]) for i in (0, H))
    n = jnp.tanh(a[..., 2 * H :] + r * g[..., 2 * H :])
    h = (1 - z) * n + z * h
    return h, h


def lstm(p: Any, carry: Any, x: Any) -> Any:
    c, h = carry
    i, f, g, o = jnp.split(x @ p["U"] + p["b"] + h @ p["W"], 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def aside(p: Any, h: Any, x: Any) -> Any:
    """Its output is a branch beside the carry, and no carry itself."""
    h, _ = simple(p, h, x)
    return h, jnp.sin(h * h)


def both(p: Any, h: Any, x: Any) -> Any:
    h, _ = simple(p, h, x)
    return h, (h, jnp.sin(h * h))


class Case(NamedTuple):
    """A cell with parameters and data.

    `aliased` puts a carry in the place of every output leaf that is that carry.
    """

    cell: Callable[..., Any]
    aliased: Callable[[Any, Any], Any]
    params: Any
    carry: Any
    inputs: Any


_CELLS: dict[str, tuple[Any, int, Any]] = {
    "simple": (simple, 1, lambda h, y: h),
    "gru": (gru, 3, lambda h, y: h),
    "lstm": (lstm, 4, lambda carry, y: carry[1]),
    "aside": (aside, 1, lambda h, y: y),
    "both": (both, 1, lambda h, y: (h, y[1])),
}
CELLS = list(_CELLS)


def case(name: str, dtype: Any = np.float32, steps: int = T, batch: int = B) -> Case:
    """One of CELLS with data drawn once and for all."""
    cell, gates, aliased = _CELLS[name]
    rng = np.random.default_rng(7)

    def normal(scale: float, *shape: int) -> jax.Array:
        return jnp.asarray(np.asarray(scale * rng.normal(size=shape), dtype))

    params = {
        "W": normal(0.6, H, gates * H),
        "U": normal(0.8, F, gates * H),
        "b": normal(0.5, gates * H),
    }
    carry: Any = normal(0.5, batch, H)
    if name == "lstm":
        carry = (carry, normal(0.5, batch, H))
    return Case(cell, aliased, params, carry, normal(1.0, steps, batch, F))


def loss_of(final: Any, outputs: Any) -> jax.Array:
    """Reads every output leaf at every step, and the final carry; a batch mean."""
    total = jnp.zeros(())
    for i, leaf in enumerate(jax.tree.leaves(outputs)):
        weight = jnp.cos(jnp.arange(leaf.size) + i).reshape(leaf.shape)
        total += jnp.sum(weight * leaf + 0.3 * leaf**2)
    for leaf in jax.tree.leaves(final):
        total += jnp.sum(leaf**3 - leaf)
    return total / jax.tree.leaves(final)[0].shape[0]


def last_output(final: Any, outputs: Any) -> jax.Array:
    """Reads the last step's output alone; a batch mean."""
    del final
    leaves = jax.tree.leaves(outputs)
    signs = jnp.cos(jnp.arange(leaves[0].shape[-1]))
    return sum(jnp.sum(signs * y[-1]) for y in leaves) / leaves[0].shape[1]


def final_carry(final: Any, outputs: Any) -> jax.Array:
    """Reads the final carry alone; a batch mean."""
    del outputs
    leaves = jax.tree.leaves(final)
    return sum(jnp.sum(h**3 - h) for h in leaves) / leaves[0].shape[0]
