"""Linen cells of a user's own, models, and ways to run them."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import optax_ltd as ltd

B, T, F, H = 3, 5, 2, 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, F)), jnp.float32)
LENGTHS = jnp.asarray([5, 2, 1])
RTOL, ATOL = 1e-5, 1e-6  # float32, sums in another order
KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


class OwnCell(nn.RNNCellBase):
    """A tanh cell; its children change what becomes of h."""

    features: int = H

    @nn.compact
    def __call__(self, carry: Any, inputs: Any) -> Any:
        recurrent = nn.Dense(self.features, use_bias=False, name="h")
        h = self.after(
            jnp.tanh(nn.Dense(self.features, name="i")(inputs) + recurrent(carry))
        )
        return h, h

    def after(self, h: jax.Array) -> jax.Array:
        return h

    @nn.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
        del rng
        return jnp.full((*input_shape[:-1], self.features), 0.1)

    @property
    def num_feature_axes(self) -> int:
        return 1


class DropoutCell(OwnCell):
    """Draws random numbers at every step, through a module and by itself."""

    def after(self, h: jax.Array) -> jax.Array:
        keep = jax.random.bernoulli(self.make_rng("dropout"), 0.7, h.shape)
        return nn.Dropout(0.3, deterministic=False, name="drop")(h * keep)


class CountingCell(OwnCell):
    """Counts its steps and keeps a running mean of what it saw, if it may."""

    def after(self, h: jax.Array) -> jax.Array:
        mean = self.variable("batch_stats", "mean", jnp.zeros, self.features)
        steps = self.variable("batch_stats", "steps", jnp.zeros, (), jnp.int32)
        old = jax.lax.stop_gradient(mean.value)
        if self.is_mutable_collection("batch_stats"):
            new = jnp.mean(h, axis=tuple(range(h.ndim - 1)))
            mean.value = 0.9 * old + 0.1 * jax.lax.stop_gradient(new)
            steps.value += 1
        return h - old + 0.01 * steps.value


class SowingCell(OwnCell):
    def after(self, h: jax.Array) -> jax.Array:
        self.sow("intermediates", "seen", h)
        return h


CELLS: dict[str, Callable[[], nn.RNNCellBase]] = {
    "SimpleCell": lambda: nn.SimpleCell(H),
    "GRUCell": lambda: nn.GRUCell(H),
    "MGUCell": lambda: nn.MGUCell(H),
    "LSTMCell": lambda: nn.LSTMCell(H),
    "OptimizedLSTMCell": lambda: nn.OptimizedLSTMCell(H),
    "ConvLSTMCell 1": lambda: nn.ConvLSTMCell(2, (2,)),
    "ConvLSTMCell 2": lambda: nn.ConvLSTMCell(2, (2, 2)),
    "OwnCell": OwnCell,
}


def drawn(module: nn.Module, *args: Any, **call: Any) -> Any:
    """Variables for a call of a module; its own initializers take long to compile."""
    shapes: Any = jax.eval_shape(partial(module.init, **call), KEYS, *args)
    normal = np.random.default_rng(2).normal
    return jax.tree.map(lambda s: normal(0, 0.5, s.shape).astype(s.dtype), shapes)


@cache
def own_params() -> Any:
    """Variables of any layer of an OwnCell, for inputs like X."""
    return drawn(nn.RNN(OwnCell()), X)


def data(cell: str) -> jax.Array:
    """Inputs with the batch first, and as many spatial axes as the cell has."""
    axes = int(cell[-1]) if cell.startswith("Conv") else 0
    shape = (B, T, *(3,) * axes, F)
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def pure(cell: nn.RNNCellBase) -> Callable[..., Any]:
    """The cell as `ltd.unroll` takes it."""
    return lambda params, carry, x: cell.apply({"params": params}, carry, x)


class Net(nn.Module):
    """Stacked layers, one of them in both directions, and a head."""

    rnn: Any
    options: Any = ()
    around: Callable[[Any], Any] = lambda rnn: rnn

    @nn.compact
    def __call__(self, x: Any) -> jax.Array:
        options = dict(self.options)
        x = self.around(self.rnn)(nn.SimpleCell(H), name="first", **options)(x)
        there, back = (self.rnn(nn.SimpleCell(H), **options) for _ in range(2))
        x = nn.Bidirectional(there, back)(x)
        return nn.Dense(2)(x[:, -1])


class Shared(nn.Module):
    """Two layers of one cell, made in ``setup``; the first is called twice."""

    rnn: Any
    options: Any = ()

    def setup(self) -> None:
        self.cell = nn.SimpleCell(F)
        self.one = self.rnn(self.cell, **dict(self.options))
        self.two = self.rnn(self.cell, **dict(self.options))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.two(self.one(self.one(x)))[:, -1]


def squares(model: nn.Module) -> Callable[..., jax.Array]:
    """A batch mean of what a model gives."""

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        y: Any = model.apply(variables, x)
        return jnp.sum(y**2) / x.shape[0]

    return loss


def last_squares(layer: ltd.linen.FlowRNN, **call: Any) -> Callable[..., jax.Array]:
    """A loss that reads the last step alone; a batch mean."""

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        y: Any = layer.apply(variables, x, **call)
        return jnp.sum(y[:, -1] ** 2) / x.shape[0]

    return loss
