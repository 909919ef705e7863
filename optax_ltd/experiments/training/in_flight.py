"""A run in flight: saved now and then, so that it goes on where it was."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from optax_ltd.experiments.training.checkpoints import (
    Checkpoints,
    check_same,
    has_config,
    read_config,
    rewrite_config,
)
from optax_ltd.experiments.training.observer import Observer
from optax_ltd.experiments.training.runner import Runner

_SECONDS = 60.0  # from one save to the next, of a fraction of a second each


@contextlib.contextmanager
def saved_in_flight(
    runner: Runner, folder: Path, observer: Observer
) -> Iterator[Observer]:
    """A context in which a run is saved every minute, and when Ctrl-C ends it.

    Args:
      runner: a new one; if the folder is there, it is brought to what was saved.
      folder: where; a run that is over sooner makes none, and whoever has kept what
        came out of it may remove the folder.
      observer: of the run.

    Yields:
      The observer that saves the run, at the first test after a minute, before it calls
      the other.

    Raises:
      InputError: if the folder holds another run.
    """
    saved_at = time.monotonic()
    saved_update = 0
    checkpoints: Checkpoints | None = None

    def save() -> None:
        nonlocal checkpoints, saved_at, saved_update
        if saved_update < runner.run.update:
            if checkpoints is None:
                checkpoints = _begin(runner, folder, stack)
            checkpoints.save(runner)
        saved_at, saved_update = time.monotonic(), runner.run.update

    def saving_observer(runner: Runner) -> None:
        if time.monotonic() - saved_at >= _SECONDS:
            save()
        observer(runner)

    with contextlib.ExitStack() as stack:
        if has_config(folder):
            checkpoints = _go_on(runner, folder, stack)
            saved_update = runner.run.update
        try:
            yield saving_observer
        except KeyboardInterrupt:
            save()
            raise


def _begin(runner: Runner, folder: Path, stack: contextlib.ExitStack) -> Checkpoints:
    folder.mkdir(parents=True, exist_ok=True)
    rewrite_config(folder, runner.setup.config)
    return stack.enter_context(Checkpoints(folder))


def _go_on(runner: Runner, folder: Path, stack: contextlib.ExitStack) -> Checkpoints:
    check_same(folder, read_config(folder), runner.setup.config)
    checkpoints = stack.enter_context(Checkpoints(folder))
    checkpoints.restore(runner)
    return checkpoints
