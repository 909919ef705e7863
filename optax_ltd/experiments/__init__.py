"""Experiments: what a run is, how it trains, and the published results.

Runs are made by the command ``optax-ltd``; `load` brings what they learned to Python.
"""

from optax_ltd._numerics.extras import naming_extra

with naming_extra("experiments"):
    from optax_ltd.experiments.training.trained import Trained, load

__all__ = ["Trained", "load"]
