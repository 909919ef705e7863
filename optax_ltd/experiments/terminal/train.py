"""One run, before the user's eyes."""

import contextlib
from pathlib import Path

import jax
from rich.console import Console

from optax_ltd.experiments.parts.methods import title
from optax_ltd.experiments.parts.setup import Setup
from optax_ltd.experiments.terminal.interrupt import deferred_interrupt
from optax_ltd.experiments.terminal.progress import Bars
from optax_ltd.experiments.training.checkpoints import Checkpoints
from optax_ltd.experiments.training.observer import train_observed
from optax_ltd.experiments.training.runner import Runner


def train(
    setup: Setup,
    console: Console,
    *,
    mesh: jax.sharding.Mesh | None = None,
    folder: Path | None = None,
) -> tuple[Runner, bool]:
    """Trains to the end, or until Ctrl-C.

    Args:
      setup: of the run.
      console: where progress goes.
      mesh: devices to spread it over, with the axes ``seeds`` and ``batch``.
      folder: of the checkpoints, saved after every test; it goes on from the latest.

    Returns:
      The runner, and whether it came to its end.
    """
    with deferred_interrupt() as check_interrupt:
        runner = Runner(setup, mesh=mesh)
        try:
            with (
                Checkpoints(folder) if folder else contextlib.nullcontext() as saving,
                Bars(console, [title(setup.config)]) as bars,
            ):
                show = bars.observer(0, check_interrupt)

                def observer(runner: Runner) -> None:
                    if saving and runner.has_tested:
                        saving.save(runner)
                    show(runner)

                if saving:
                    saving.restore(runner)
                train_observed(runner, observer)
        except KeyboardInterrupt:
            return runner, False
    return runner, True
