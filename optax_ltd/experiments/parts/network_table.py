"""What cells and initial weights may be, a row each."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

import optax_ltd as ltd

Initializer = Callable[..., jax.Array]

CELLS: Mapping[str, Callable[..., nnx.RNNCellBase]] = {
    "tanh": partial(nnx.SimpleCell, activation_fn=jnp.tanh),
    "sigmoid": partial(nnx.SimpleCell, activation_fn=jax.nn.sigmoid),
    "relu": partial(nnx.SimpleCell, activation_fn=jax.nn.relu),
    "lstm": nnx.OptimizedLSTMCell,
    "gru": nnx.GRUCell,
}


class Init(NamedTuple):
    """Initial weights.

    Attributes:
      recurrent: of each square matrix from unit to unit.
      other: of those from the input, where a run says nothing else, and to the output.
    """

    recurrent: Initializer
    other: Initializer


_normal = nnx.initializers.normal

# The first three are those of Pascanu et al., `sparse` that of Sutskever et al., and
# `identity`, with relu, that of Le et al.
INITS: Mapping[str, Init] = {
    "sigmoid": Init(_normal(0.01), _normal(0.01)),
    "basic_tanh": Init(_normal(0.1), _normal(0.1)),
    "smart_tanh": Init(ltd.initializers.sparse(), _normal(0.01)),
    "orthogonal": Init(nnx.initializers.orthogonal(), _normal(0.1)),
    "identity": Init(ltd.initializers.identity(), _normal(0.001)),
    "sparse": Init(ltd.initializers.sparse(spectral_radius=1.1, axis=0), _normal(0.1)),
}
