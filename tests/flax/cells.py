"""Cells of a user's own, beside those of Flax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class OwnCell(nnx.RNNCellBase):
    """A tanh cell; its children add a variable of another kind."""

    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs):
        self.hidden_features = hidden_features
        self.dense_i = nnx.Linear(in_features, hidden_features, rngs=rngs)
        self.dense_h = nnx.Linear(
            hidden_features, hidden_features, use_bias=False, rngs=rngs
        )

    def __call__(self, carry: Any, inputs: Any) -> Any:
        h = self.next(carry, inputs)
        return h, h

    def next(self, carry: Any, inputs: Any) -> jax.Array:
        return jnp.tanh(self.dense_i(inputs) + self.dense_h(carry))

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> Any:
        del rngs, carry_init
        return jnp.full((*input_shape[:-1], self.hidden_features), 0.1)

    @property
    def num_feature_axes(self) -> int:
        return 1


class AsideCell(OwnCell):
    """Its output is computed beside the carry."""

    def __call__(self, carry: Any, inputs: Any) -> Any:
        h = self.next(carry, inputs)
        return h, {"h": h, "aside": jnp.sin(h * h)}


class DropoutCell(OwnCell):
    """Draws random numbers at every step."""

    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, carry: Any, inputs: Any) -> Any:
        h = self.dropout(self.next(carry, inputs))
        return h, h


class Constant(nnx.Variable):
    """A variable that no step changes."""


class ConstantCell(OwnCell):
    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features, rngs=rngs)
        self.leak = Constant(jnp.linspace(0.1, 0.9, hidden_features))

    def __call__(self, carry: Any, inputs: Any) -> Any:
        h = self.leak[...] * carry + (1 - self.leak[...]) * self.next(carry, inputs)
        return h, h


class CountingCell(OwnCell):
    """Counts its steps and keeps a running mean of what it saw, as BatchNorm does."""

    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features, rngs=rngs)
        self.steps = nnx.Variable(jnp.zeros((), jnp.int32))
        self.mean = nnx.BatchStat(jnp.zeros(hidden_features))

    def __call__(self, carry: Any, inputs: Any) -> Any:
        h = self.next(carry, inputs)
        mean = jnp.mean(h, axis=tuple(range(h.ndim - 1)))
        old = jax.lax.stop_gradient(self.mean[...])
        self.mean[...] = 0.9 * old + 0.1 * jax.lax.stop_gradient(mean)
        self.steps[...] += 1
        h = h - old + 0.01 * self.steps[...]
        return h, h


FLAX_CELLS: dict[str, Callable[..., nnx.RNNCellBase]] = {
    "SimpleCell": nnx.SimpleCell,
    "GRUCell": nnx.GRUCell,
    "LSTMCell": nnx.LSTMCell,
    "OptimizedLSTMCell": nnx.OptimizedLSTMCell,
}
OWN_CELLS: dict[str, Callable[..., nnx.RNNCellBase]] = {
    cell.__name__: cell
    for cell in (OwnCell, AsideCell, DropoutCell, ConstantCell, CountingCell)
}
CELLS = FLAX_CELLS | OWN_CELLS
