"""What a run has learned, brought back from the folder it was saved in."""

import dataclasses
import os
from pathlib import Path

from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.network import Network
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.checkpoints import Checkpoints, read_config
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.tasks import Task


@dataclasses.dataclass(frozen=True)
class Trained:
    """The networks of a run, and what they were trained on.

    Attributes:
      networks: One `flax.nnx.Module` a seed, from the first seed on: as it first solved
        the task, or as it stood at the last test if it has not; of averages of its
        weights if the run has ``averaging``. Each maps a
        `optax_ltd.tasks.Batch` to outputs, float ``[batch, output_size]``, or ``[batch,
        time, output_size]`` if the task is read at every step; its ``rnn`` is the
        `optax_ltd.FlowRNN`, its ``head`` the readout.
      task: What they were trained on.
      test_task: What they were tested on: the same, but for another length if the run
        has one, and for the text that was held out.
      run: What came out, test after test, as in the record of ``--json``.
    """

    networks: tuple[Network, ...]
    task: Task
    test_task: Task
    run: Run

    @property
    def config(self) -> Config:
        """All that decided what the run did; the options of ``optax-ltd train``."""
        return self.run.config


def load(checkpoint: str | os.PathLike[str]) -> Trained:
    """Loads the networks that ``optax-ltd train --checkpoint`` saved.

    The folder stays as it is. Where its latest state cannot be read, the one before is
    taken, and a warning logged.

    Args:
      checkpoint: the folder.

    Returns:
      The networks, their tasks and their record, on the default device.

    Raises:
      ValueError: if it is no such folder or has no state that can be read.

    Examples:
      After ``optax-ltd train temporal_order --checkpoint run``::

        trained = experiments.load("run")
        batch = trained.task.sample(jax.random.key(0), 20)
        outputs = trained.networks[0](batch)  # [20, 4]
        wrong = trained.task.is_wrong(outputs, batch)
    """
    folder = Path(checkpoint)
    runner = brought_back(folder, read_config(folder))
    return Trained(
        tuple(runner.network(index) for index in range(runner.run.config.seeds)),
        runner.setup.task,
        runner.setup.test_task,
        runner.run,
    )


def brought_back(folder: Path, config: Config) -> Runner:
    """A runner as it was last saved.

    Args:
      folder: of the checkpoints.
      config: that of the folder, or one that differs from it in its tests alone.

    Raises:
      InputError: if the folder holds no state that can be read.
    """
    runner = Runner(make_setup(config))
    with Checkpoints(folder, read_only=True) as checkpoints:
        checkpoints.restore(runner)
    if not runner.run.evaluations:
        came = f"{str(folder)!r}, which holds no state yet"
        raise refusal("checkpoint", "a folder with a state", came)
    return runner
