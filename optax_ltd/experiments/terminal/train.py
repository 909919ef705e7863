"""One run, before the user's eyes."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import jax
from rich.console import Console

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.methods import title
from optax_ltd.experiments.terminal.interrupt import deferred_interrupt
from optax_ltd.experiments.terminal.progress import Bars
from optax_ltd.experiments.training.checkpoints import Checkpoints
from optax_ltd.experiments.training.runner import Runner


def train(
    config: Config,
    console: Console,
    *,
    mesh: jax.sharding.Mesh | None = None,
    folder: Path | None = None,
    seconds: float = math.inf,
) -> tuple[Runner, bool]:
    """Trains to the end, or until Ctrl-C.

    Args:
      config: of the run.
      console: where progress goes.
      mesh: devices to spread it over, with the axes ``seeds`` and ``batch``.
      folder: of the checkpoints, saved after every test; it goes on from the latest.
      seconds: how long it may take; the test then reached is the last.

    Returns:
      The runner, and whether it came to its end.

    Raises:
      InputError: if anything in the config is unknown or out of range.
    """
    with deferred_interrupt() as check_interrupt:
        runner = Runner(config, mesh=mesh)
        runner.run.time_limit = seconds
        try:
            with Checkpoints(folder) if folder else contextlib.nullcontext() as saving:
                if saving:
                    saving.restore(runner)
                after = _saved(runner, saving, check_interrupt)
                with Bars(console, [title(config)]) as bars:
                    bars.train(0, runner, after)
        except KeyboardInterrupt:
            return runner, False
    return runner, True


def _saved(
    runner: Runner, checkpoints: Checkpoints | None, check_interrupt: Callable[[], None]
) -> Callable[[], None]:
    def after() -> None:
        if checkpoints and runner.run.evaluations:
            checkpoints.save(runner)
        check_interrupt()

    return after
