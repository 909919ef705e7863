"""How far a trained network reaches: tests at other lengths than those it learned."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.terminal.interrupt import deferred_interrupt
from optax_ltd.experiments.training.checkpoints import Checkpoints, read_config
from optax_ltd.experiments.training.run import plain
from optax_ltd.experiments.training.runner import Runner


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


def evaluate(folder: Path, lengths: Sequence[int], test_size: int) -> list[Reach]:
    """Tests the networks of a folder of checkpoints, each as it first solved the task.

    One that has not is tested as it stands.

    Args:
      folder: of the checkpoints.
      lengths: to test at.
      test_size: fresh sequences at each.

    Returns:
      How they did, length by length.

    Raises:
      InputError: if it is no such folder or holds no state yet, or the task does not
        have such a length.
    """
    config = dataclasses.replace(read_config(folder), test_size=test_size)
    for length in lengths:
        make_test_task(config, length)
    with deferred_interrupt() as check_interrupt:
        runner = Runner(config)
        with Checkpoints(folder) as checkpoints:
            checkpoints.restore(runner)
        check_interrupt()
    if not runner.run.evaluations:
        raise InputError(f"{str(folder)!r} holds no state yet")
    return reaches(runner, lengths)


def reaches(runner: Runner, lengths: Sequence[int]) -> list[Reach]:
    """Tests the networks that a runner has kept.

    Args:
      runner: trained or not.
      lengths: to test at.

    Returns:
      How they did, length by length.

    Raises:
      KeyboardInterrupt: on Ctrl-C, when a length is done.
    """
    made = []
    with deferred_interrupt() as check_interrupt:
        for length in lengths:
            task = make_test_task(runner.run.config, length)
            made.append(Reach(length, *runner.test(task)))
            check_interrupt()
    return made
