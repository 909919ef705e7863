"""Optax for long-term dependencies: gradients that survive and that arrive."""
