"""Measurements of optax_ltd against its peers: `python -m benchmarks`."""
