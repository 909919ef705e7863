"""A run: what came out of training, test after test."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.flossing import flossing_sequences
from optax_ltd.experiments.parts.growth import stages
from optax_ltd.experiments.parts.methods import title
from optax_ltd.experiments.training.environment import environment

_ARRAYS = ("train_loss", "test_loss", "error", "nonfinite")


class Evaluation(NamedTuple):
    """How all seeds stood after some updates.

    Attributes:
      update: Updates made so far.
      train_loss: Mean training loss since the evaluation before, float [seeds].
      test_loss: Mean loss on fresh sequences, float [seeds].
      error: Share of fresh sequences answered wrongly, float [seeds].
      nonfinite: Gradients with an Inf or a NaN so far, int [seeds].
      measures: Means of the task's own measures of the same answers, float [seeds], by
        name.
      stage: How many times the sequences had grown.
    """

    update: int
    train_loss: np.ndarray
    test_loss: np.ndarray
    error: np.ndarray
    nonfinite: np.ndarray
    measures: Mapping[str, np.ndarray] = {}
    stage: int = 0

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What every seed has one number of, by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    def to_dict(self) -> dict[str, Any]:
        """The same in lists; null is what no number is."""
        return {
            "update": self.update,
            "stage": self.stage,
            **{name: plain(values) for name, values in self.arrays.items()},
            "measures": {name: plain(values) for name, values in self.measures.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Evaluation":
        """What `to_dict` made it of.

        Args:
          values: its fields.
        """
        arrays = {
            name: np.array(values[name], int if name == "nonfinite" else float)
            for name in _ARRAYS
        }
        # Older records lack these two.
        measures, stage = values.get("measures", {}), values.get("stage", 0)
        return cls(
            values["update"],
            **arrays,
            measures={name: np.array(x, float) for name, x in measures.items()},
            stage=stage,
        )


@dataclasses.dataclass
class Run:
    """The training of all seeds of one config, as far as it came.

    Attributes:
      config: What is trained, and how.
      solved_below: Share of wrong answers below which the task counts as solved.
      evaluations: What came out so far, an evaluation at a time.
      seconds: Time spent on updates, without compilation and tests.
      reach: By length, the share of wrong answers of the networks that were kept, a
        number a seed.
      time_limit: Seconds that all of it may take; the test then reached is the last.
    """

    config: Config
    solved_below: float
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    reach: dict[int, list[float]] = dataclasses.field(default_factory=dict)
    time_limit: float = math.inf

    @property
    def title(self) -> str:
        """What tables and pictures call its method."""
        return title(self.config)

    @property
    def update(self) -> int:
        """Updates made so far."""
        return self.evaluations[-1].update if self.evaluations else 0

    @property
    def sequences(self) -> int:
        """Sequences that each seed has learned from so far."""
        flossed = flossing_sequences(self.config, self.update)
        return self.update * self.config.batch_size + flossed

    @property
    def updates_per_second(self) -> float:
        """Updates per second of training, each of all seeds together."""
        return self.update / self.seconds if self.seconds else 0.0

    @property
    def stage(self) -> int:
        """How many times its sequences have grown by now."""
        stage = len(self._stages_so_far) - 1
        passed = self._first_below(self.config.grow_below, stage)
        return stage + 1 if self.is_growing and None not in passed else stage

    @property
    def longest(self) -> int:
        """Steps of the longest sequences that it has learned from so far."""
        return self._stages_so_far[-1].lengths[1]

    @property
    def solved_at(self) -> list[int | None]:
        """Per seed, updates made when a test first found the task solved.

        As long as sequences grow it is not the task yet.
        """
        return self._first_below(self.solved_below, len(stages(self.config)) - 1)

    @property
    def learned_at(self) -> dict[int, list[int | None]]:
        """Per seed, updates made when a test first was good enough to grow.

        By the longest length of each stage so far.
        """
        return {
            stage.lengths[1]: self._first_below(self.config.grow_below, i)
            for i, stage in enumerate(self._stages_so_far)
        }

    @property
    def is_growing(self) -> bool:
        """Whether its last test was of shorter sequences than the task's."""
        return len(self._stages_so_far) < len(stages(self.config))

    @property
    def _stages_so_far(self) -> tuple[Config, ...]:
        """Up to that of the last test, which may be the one that lets them grow."""
        last = self.evaluations[-1].stage if self.evaluations else 0
        return stages(self.config)[: last + 1]

    def _first_below(self, error: float, stage: int) -> list[int | None]:
        """Per seed, updates made when a test at a stage first was below an error."""
        tests = [test for test in self.evaluations if test.stage == stage]
        return [
            next((test.update for test in tests if test.error[i] < error), None)
            for i in range(self.config.seeds)
        ]

    @property
    def num_solved(self) -> int:
        """How many seeds have solved the task, in any test."""
        return sum(update is not None for update in self.solved_at)

    @property
    def num_solved_at_the_end(self) -> int:
        """How many seeds the last test found to have solved the task."""
        if self.is_growing:
            return 0
        return int(np.sum(self.evaluations[-1].error < self.solved_below))

    @property
    def done(self) -> bool:
        """Whether every seed has solved the task, or the budget is spent."""
        is_spent = self.update >= self.config.updates
        return is_spent or self.num_solved == self.config.seeds

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return {
            "config": self.config.to_dict(),
            "solved_below": self.solved_below,
            "solved_at": self.solved_at,
            "learned_at": self.learned_at,
            "seconds": self.seconds,
            "time_limit": self.time_limit if self.time_limit < math.inf else None,
            "reach": self.reach,
            "evaluations": [e.to_dict() for e in self.evaluations],
        }

    def record(self) -> dict[str, Any]:
        """What is kept of it: all of it, and where it was made."""
        return {"environment": environment(), **self.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Run":
        """What `to_dict` or `record` made of it.

        Args:
          values: its fields.
        """
        limit = values.get("time_limit")
        return cls(
            Config.from_dict(values["config"]),
            values["solved_below"],
            [Evaluation.from_dict(e) for e in values["evaluations"]],
            values["seconds"],
            {int(length): errors for length, errors in values["reach"].items()},
            math.inf if limit is None else limit,
        )


def plain(values: np.ndarray) -> list[float | None]:
    """Numbers as JSON holds them; null is what no number is.

    Args:
      values: any number of them, [n].
    """
    return [value if math.isfinite(value) else None for value in values.tolist()]
