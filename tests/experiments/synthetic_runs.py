"""Runs that nobody trained, to see what is made of them."""

import numpy as np

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training.run import Evaluation, Run


def synthetic_run(config: Config, *, solved: int, updates: int = 400) -> Run:
    """Two tests; in the second so many of the seeds have solved the task."""
    ones, none = np.ones(config.seeds), np.zeros(config.seeds, int)
    error = np.where(np.arange(config.seeds) < solved, 0.001, 0.5)
    evaluations = [
        Evaluation(updates // 2, 3 * ones, 2 * ones, 0.75 * ones, none),
        Evaluation(updates, 2 * ones, ones, error, none + 7),
    ]
    return Run(config, 0.01, evaluations, seconds=1.0)
