"""Biases of an LSTM that starts by keeping."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from optax_ltd._numerics.checks import check_count, check_number
from optax_ltd.initializers._initializer import Initializer


def forget_gate_bias(hidden_features: int, value: ArrayLike = 1.0) -> Initializer:
    """Zero biases, but ``value`` at the forget gates: an LSTM that starts by keeping.

    For ``flax.nnx.OptimizedLSTMCell``, which holds the biases of its input, forget,
    cell and output gates, in this order, in one vector.

    Args:
      hidden_features: Units of the LSTM.
      value: Bias of the forget gates.

    Returns:
      An initializer of vectors ``[4 * hidden_features]``.

    Raises:
      ValueError: If ``hidden_features`` is no int of at least 1 or ``value`` no finite
        number, or, when called, if the shape is another one: a cell with a bias
        vector per gate would be filled wrongly without a word.

    Examples:
      >>> import jax
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> bias_init = ltd.initializers.forget_gate_bias(2)
      >>> print(bias_init(jax.random.key(0), (8,)))
      [0. 0. 1. 1. 0. 0. 0. 0.]
      >>> cell = nnx.OptimizedLSTMCell(3, 2, bias_init=bias_init, rngs=nnx.Rngs(0))

    References:
      Gers, Schmidhuber and Cummins, *Learning to forget*, 2000; Jozefowicz, Zaremba
      and Sutskever, *An empirical exploration of recurrent network architectures*,
      2015.
    """
    hidden_features = check_count("hidden_features", hidden_features, at_least=1)
    value = check_number("value", value)

    def init(
        key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> jax.Array:
        del key
        if tuple(shape) != (4 * hidden_features,):
            raise ValueError(
                f"`shape` must be ({4 * hidden_features},), one vector for all four "
                f"gates; got {tuple(shape)}."
            )
        gates = jnp.zeros((4, hidden_features), dtype)
        return gates.at[1].set(value).reshape(shape)

    return init
