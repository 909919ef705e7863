"""What cells and initial weights may be, a row each."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

import optax_ltd as ltd

Initializer = Callable[..., jax.Array]


class Cell(NamedTuple):
    """A recurrent cell.

    Attributes:
      make: From the numbers of features and of units, options of Flax and the values
        of the fields by name, the cell.
      fields: Of a config: those that not every run makes use of, but this one does.
    """

    make: Callable[..., nnx.RNNCellBase]
    fields: tuple[str, ...] = ()


def _simple(activation: Callable[[jax.Array], jax.Array]) -> Cell:
    return Cell(partial(nnx.SimpleCell, activation_fn=activation))


def _lstm(
    features: int, units: int, *, forget_bias: float, **options: Any
) -> nnx.OptimizedLSTMCell:
    bias_init = ltd.initializers.forget_gate_bias(units, forget_bias)
    return nnx.OptimizedLSTMCell(features, units, bias_init=bias_init, **options)


CELLS: Mapping[str, Cell] = {
    "tanh": _simple(jnp.tanh),
    "sigmoid": _simple(jax.nn.sigmoid),
    "relu": _simple(jax.nn.relu),
    "lstm": Cell(_lstm, ("forget_bias",)),
    "gru": Cell(nnx.GRUCell),
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
# `identity`, with relu, that of Le et al. In `latching` each unit holds a bit as in
# Bengio et al. (1994): where tanh feeds itself by more than 1 it has two stable states,
# here of .86, between which an input of more than .21 can still switch.
INITS: Mapping[str, Init] = {
    "sigmoid": Init(_normal(0.01), _normal(0.01)),
    "basic_tanh": Init(_normal(0.1), _normal(0.1)),
    "smart_tanh": Init(ltd.initializers.sparse(), _normal(0.01)),
    "orthogonal": Init(nnx.initializers.orthogonal(), _normal(0.1)),
    "identity": Init(ltd.initializers.identity(), _normal(0.001)),
    "latching": Init(ltd.initializers.identity(1.5), _normal(0.5)),
    "sparse": Init(ltd.initializers.sparse(spectral_radius=1.1, axis=0), _normal(0.1)),
}
