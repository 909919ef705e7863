"""How far the quadratic model is trusted: λ, raised and lowered by what came true."""

import jax
import jax.numpy as jnp

# float32 holds the squares of both, and the model of no loss is mended beyond them.
LEAST_DAMPING = 1e-12
MOST_DAMPING = 1e12


def reduction_ratio(change: jax.Array, predicted: jax.Array) -> jax.Array:
    """How much of what the model predicted came true.

    Args:
      change: of the loss.
      predicted: change of the model, without damping.

    Returns:
      ρ, 0 where the model predicts no reduction.
    """
    lowers = predicted < 0
    return jnp.where(lowers, change / jnp.where(lowers, predicted, 1), 0)


def adapted(damping: jax.Array, ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The next λ, by the rule of Martens 2010, section 4.1.

    Args:
      damping: λ.
      ratio: ρ: λ grows by 3/2 if it is below 1/4, and shrinks by 2/3 above 3/4.

    Returns:
      The next λ, and whether it was held at the end of its range.
    """
    factor = jnp.where(ratio < 1 / 4, 3 / 2, jnp.where(ratio > 3 / 4, 2 / 3, 1))
    free = damping * factor.astype(damping.dtype)
    held = jnp.clip(free, LEAST_DAMPING, MOST_DAMPING)
    return held, held != free
