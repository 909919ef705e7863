"""A run: what came out of training with one method, test after test."""

import dataclasses
from typing import NamedTuple

import numpy as np

from optax_ltd.experiments.methods import Method
from optax_ltd.experiments.training import Settings


class Evaluation(NamedTuple):
    """How all seeds stood after some updates.

    Attributes:
      update: Updates made so far.
      loss: Mean training loss since the evaluation before, float [seeds].
      error: Share of fresh sequences answered wrongly, float [seeds].
      nonfinite: Gradients with an Inf or a NaN so far, int [seeds].
    """

    update: int
    loss: np.ndarray
    error: np.ndarray
    nonfinite: np.ndarray


@dataclasses.dataclass
class Run:
    """One method's training of all seeds, as far as it came.

    Attributes:
      method: The method.
      settings: What it has in common with the other methods.
      evaluations: What came out so far, an evaluation at a time.
      seconds: Time spent on updates, without compilation and tests.
    """

    method: Method
    settings: Settings
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def update(self) -> int:
        """Updates made so far."""
        return self.evaluations[-1].update if self.evaluations else 0

    @property
    def updates_per_second(self) -> float:
        """Updates per second of training, each of all seeds together."""
        return self.update / self.seconds if self.seconds else 0.0

    @property
    def solved_at(self) -> list[int | None]:
        """Per seed, updates made when a test first found the task solved."""
        threshold = self.settings.task.solved_below
        return [
            next((e.update for e in self.evaluations if e.error[i] < threshold), None)
            for i in range(self.settings.seeds)
        ]

    @property
    def done(self) -> bool:
        """Whether every seed has solved the task, or the budget is spent."""
        is_spent = self.update >= self.settings.updates
        return is_spent or all(update is not None for update in self.solved_at)
