"""Optax for long-term dependencies: gradients that survive and that arrive."""

from optax_ltd._norms import global_norm
from optax_ltd._transforms.clip_by_global_norm import clip_by_global_norm
from optax_ltd._transforms.clip_by_value import clip_by_value
from optax_ltd._transforms.clip_or_random_step import clip_or_random_step
from optax_ltd._transforms.metrics import metrics
from optax_ltd._transforms.nonfinite_random_step import nonfinite_random_step
from optax_ltd._transforms.raise_if_diverged import raise_if_diverged

__all__ = [
    "clip_by_global_norm",
    "clip_by_value",
    "clip_or_random_step",
    "global_norm",
    "metrics",
    "nonfinite_random_step",
    "raise_if_diverged",
]
