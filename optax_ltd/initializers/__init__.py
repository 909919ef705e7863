"""Initial weights that keep a recurrent net's memory alive.

Callables ``(key, shape, dtype) -> array``, as those of ``jax.nn.initializers``, which
has the dense ones (``normal``, ``orthogonal``).
"""

from optax_ltd.initializers.forget_gate_bias import forget_gate_bias
from optax_ltd.initializers.identity import identity
from optax_ltd.initializers.sparse import sparse

__all__ = ["forget_gate_bias", "identity", "sparse"]
