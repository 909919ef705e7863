"""Which leaves have a gradient, and the dtype that arithmetic on them is done in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf has a direction: floating or complex, not integer or float0."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def real_dtype(dtype: Any) -> np.dtype:
    """The dtype of norms of such leaves: float32 or wider, real for complex ones."""
    return jnp.finfo(jnp.promote_types(dtype, jnp.float32)).dtype


def widened(leaf: jax.Array) -> jax.Array:
    """A floating or complex leaf in at least single precision."""
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
