"""Models with `FlowRNN` layers, and what their layers should report."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import optax_ltd as ltd

B, T, F, H = 3, 5, 2, 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, F)), jnp.float32)
LENGTHS = jnp.asarray([5, 2, 1])
RTOL, ATOL = 1e-5, 1e-6  # float32, sums in another order


class Stacked(nnx.Module):
    """Two layers of different widths, and a head."""

    def __init__(self, weights: tuple[float, float] = (1.0, 2.0), dropout: float = 0.0):
        rngs = nnx.Rngs(0)
        cells = nnx.SimpleCell(F, H, rngs=rngs), nnx.SimpleCell(H, 3, rngs=rngs)
        self.rnns = nnx.List(
            [ltd.FlowRNN(c, flow_weight=w) for c, w in zip(cells, weights, strict=True)]
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: Any = None) -> jax.Array:
        for rnn in self.rnns:
            x = rnn(x)
        return self.head(self.dropout(x[:, -1], rngs=rngs))


class Twice(nnx.Module):
    """One layer that is called twice, and known by two names."""

    def __init__(self, flow_weight: float = 1.0):
        cell = nnx.SimpleCell(F, F, rngs=nnx.Rngs(0))
        self.first = ltd.FlowRNN(cell, flow_weight=flow_weight)
        self.again = self.first

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.again(self.first(x))


def squares(model: Any, x: jax.Array) -> jax.Array:
    """A batch mean of what the last step gives."""
    return jnp.sum(model(x) ** 2) / x.shape[0]


def simple_layer(**options: Any) -> ltd.FlowRNN:
    return ltd.FlowRNN(nnx.SimpleCell(F, H, rngs=nnx.Rngs(0)), **options)


def pure(cell: Any) -> tuple[Any, Any]:
    """A SimpleCell's parameters and the same cell written as a function."""
    params = {
        "W": cell.dense_h.kernel[...],
        "U": cell.dense_i.kernel[...],
        "b": cell.dense_i.bias[...],
    }

    def step(p: Any, h: Any, x: Any) -> Any:
        h = jnp.tanh(x @ p["U"] + p["b"] + h @ p["W"])
        return h, h

    return params, step


def leaves_of(model: Any) -> list[Any]:
    """All state of a model as plain arrays, and its structure."""
    graphdef, state = nnx.split(model)
    values = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(state)
    ]
    return [graphdef, *map(np.asarray, values)]


def assert_unchanged(before: list[Any], model: Any) -> None:
    after = leaves_of(model)
    assert before[0] == after[0]
    assert len(before) == len(after)
    for x, y in zip(before[1:], after[1:], strict=True):
        np.testing.assert_array_equal(x, y)
