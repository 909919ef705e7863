"""Gradient transformations, one a file. They import `_norms` and optax alone."""
