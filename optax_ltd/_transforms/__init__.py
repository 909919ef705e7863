"""Gradient transformations, one a file. They import `_numerics` and optax alone."""
