"""The key of random steps: what a factory takes, and what a state keeps of it."""

from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np

from optax_ltd._numerics.checks import refusal

SeedOrKey: TypeAlias = int | jax.Array | np.ndarray | np.integer

_IMPL = "threefry2x32"


def check_key(name: str, value: Any) -> SeedOrKey:
    """Requires a seed or a PRNG key, typed or raw.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.

    Returns:
      The key as it is; a seed, unless it is a JAX array, as an int.

    Raises:
      ValueError: the argument is anything else.
    """
    required = "an int or a PRNG key"
    if isinstance(value, bool) or not isinstance(
        value, int | jax.Array | np.ndarray | np.integer
    ):
        raise refusal(name, required, value)
    if isinstance(value, int):
        return value
    typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    seed = value.shape == () and jnp.issubdtype(value.dtype, jnp.integer)
    raw = value.ndim == 1 and value.size >= 2 and value.dtype == jnp.uint32
    if not (seed or raw or (typed and value.shape == ())):
        raise refusal(name, required, value)
    return int(value) if seed and not isinstance(value, jax.Array) else value


def check_no_key(name: str, value: Any, why: str) -> None:
    """Requires that no key is given where none is used.

    Args:
      name: the argument's name, for the message.
      value: what the caller gave.
      why: the choice that draws nothing, as the caller wrote it.

    Raises:
      ValueError: a key is given.
    """
    if value is not None:
        raise refusal(name, f"left out with {why}, which draws nothing", value)


def raw_key(key: SeedOrKey) -> jax.Array:
    """Makes the two words of uint32 that a state keeps of a seed or a key.

    Raw words rather than a typed key, as these survive every way of saving a
    state. Keys of other generators are folded into a threefry key.

    Args:
      key: a seed or a key, as `check_key` returns it.

    Returns:
      A fresh uint32 array of shape [2]. For a seed, the words of `jax.random.key`.
    """
    if isinstance(key, int | np.integer):
        if -(2**31) <= key < 2**32:
            return jax.random.key_data(jax.random.key(int(key), impl=_IMPL))
        # All 64 bits, which `jax.random.key` keeps in x64 mode alone.
        seed = int(key) % 2**64
        return jnp.array([seed >> 32, seed & 0xFFFFFFFF], jnp.uint32)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(cast(jax.Array, key))
    if jnp.ndim(key) == 0:
        return jax.random.key_data(jax.random.key(key, impl=_IMPL))
    words = jnp.array(key, jnp.uint32, copy=True)
    folded = typed_key(words[:2])
    for i in range(2, words.size):
        folded = jax.random.fold_in(folded, words[i])
    return jax.random.key_data(folded)


def typed_key(words: jax.Array) -> jax.Array:
    """The key of two raw words."""
    return jax.random.wrap_key_data(words, impl=_IMPL)
