"""Runs that nobody trained, to see what is made of them."""

import functools
import math
import time
from typing import Any

import numpy as np
from rich.console import Console

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.growth import stages
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.studies.cliff.descents import cliff
from optax_ltd.experiments.studies.published import STUDIES
from optax_ltd.experiments.terminal.watch import TerminalWatch
from optax_ltd.experiments.training.run import Evaluation, Run
from optax_ltd.experiments.training.runner import Runner

QUIET = TerminalWatch(Console(quiet=True))

made_cliff = functools.cache(cliff)


def synthetic_run(config: Config, *, solved: int, updates: int = 400) -> Run:
    """Two tests; in the second so many of the seeds have solved the task."""
    ones, none = np.ones(config.seeds), np.zeros(config.seeds, int)
    error = np.where(np.arange(config.seeds) < solved, 0.001, 0.5)
    names, last = make_test_task(config).measures, len(stages(config)) - 1
    evaluations = [
        Evaluation(updates // 2, 3 * ones, 2 * ones, 0.75 * ones, none),
        Evaluation(updates, 2 * ones, ones, error, none + 7, stage=last),
    ]
    evaluations = [
        test._replace(measures=dict.fromkeys(names, 2 * test.error))
        for test in evaluations
    ]
    return Run(config, 0.01, evaluations, seconds=1.0)


class SyntheticRunner(Runner):
    """A runner whose tests come 2 updates after another and find nothing solved."""

    def __init__(self, setup: Any, *, mesh: None = None, time_limit: float = math.inf):
        self.setup = setup
        self.run = Run(setup.config, 0.01, seconds=1.0, time_limit=time_limit)
        self.has_tested = False
        self._began = time.monotonic()

    def compile(self) -> None:
        pass

    def advance(self, until: int | None = None) -> Evaluation:
        updates = self.run.update + 2
        made = synthetic_run(self.run.config, solved=0, updates=updates).evaluations[-1]
        self.run.evaluations.append(made)
        self.has_tested = True
        return made


def runs_of(name: str, *, solved: int = 2) -> dict[str, Run]:
    """Every run of a study, at a budget of 400 updates.

    Args:
      name: of the study.
      solved: how many seeds of each solved its task.
    """
    study = STUDIES[name]
    runs = {
        key: synthetic_run(config, solved=solved)
        for key, config in study.configs(400).items()
    }
    for key, lengths in study.reach.items():
        runs[key].reach = dict.fromkeys(lengths, runs[key].config.seeds * [0.25])
    return runs
