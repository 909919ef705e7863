"""A run in flight: saved now and then, so that it goes on where it was."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.training.checkpoints import (
    Checkpoints,
    read_config,
    write_config,
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
      The observer that saves the run before it calls the other.

    Raises:
      InputError: if the folder holds another run.
    """
    saved_at = time.monotonic()

    def save() -> None:
        nonlocal saved_at
        if not folder.exists():
            write_config(folder, runner.setup.config)
        with Checkpoints(folder) as saving:
            if saving.update < runner.run.update:
                saving.save(runner)
        saved_at = time.monotonic()

    def saving_observer(runner: Runner) -> None:
        if runner.has_tested and time.monotonic() - saved_at >= _SECONDS:
            save()
        observer(runner)

    _go_on(runner, folder)
    try:
        yield saving_observer
    except KeyboardInterrupt:
        if runner.has_tested:
            save()
        raise


def _go_on(runner: Runner, folder: Path) -> None:
    if folder.exists():
        if read_config(folder) != runner.setup.config:
            raise InputError(
                f"{str(folder)!r} must be of this config; got the run of another "
                "config. Give another folder."
            )
        with Checkpoints(folder) as saved:
            saved.restore(runner)
