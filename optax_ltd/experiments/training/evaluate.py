"""How far a trained network reaches: tests at other lengths than those it learned."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.training.checkpoints import read_config
from optax_ltd.experiments.training.observer import Observer
from optax_ltd.experiments.training.run import plain
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.experiments.training.trained import brought_back
from optax_ltd.tasks import Task


class Reach(NamedTuple):
    """How all seeds did at one length.

    Attributes:
      length: of the sequences.
      loss: mean loss, float [seeds].
      error: share of wrong answers, float [seeds].
    """

    length: int
    loss: np.ndarray
    error: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """The same in lists; null is what no number is."""
        return {
            "length": self.length,
            "loss": plain(self.loss),
            "error": plain(self.error),
        }


def evaluate(
    folder: Path, lengths: Sequence[int], test_size: int, observer: Observer
) -> list[Reach]:
    """Tests the networks of a folder of checkpoints, each as it first solved the task.

    One that has not is tested as it stands.

    Args:
      folder: of the checkpoints.
      lengths: to test at.
      test_size: fresh sequences at each.
      observer: called when the networks are there, and when a length is done.

    Returns:
      How they did, length by length.

    Raises:
      InputError: if it is no such folder or holds no state yet, or the task does not
        have such a length.
    """
    config = dataclasses.replace(read_config(folder), test_size=test_size)
    tasks = {length: make_test_task(config, length) for length in lengths}
    runner = brought_back(folder, config)
    observer(runner)
    return reaches(runner, tasks, observer)


def reaches(
    runner: Runner, tasks: Mapping[int, Task], observer: Observer
) -> list[Reach]:
    """Tests the networks that a runner has kept.

    Args:
      runner: trained or not.
      tasks: its own at the lengths to test at, by length.
      observer: called when a length is done; what it raises ends the tests.

    Returns:
      How they did, length by length.
    """
    made = []
    for length, task in tasks.items():
        made.append(Reach(length, *runner.test(task)))
        observer(runner)
    return made
