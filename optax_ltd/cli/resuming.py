"""Going on with a run that was saved, and saying how."""

import shlex
from pathlib import Path
from typing import Any

from optax_ltd.experiments.input_error import InputError, refusal
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training.checkpoints import (
    Checkpoints,
    has_config,
    read_config,
    rewrite_config,
    write_config,
)
from optax_ltd.experiments.training.run import Run


def saved_values(checkpoint: Path | None, config: Path | None) -> dict[str, Any]:
    """The fields of the config in a folder of checkpoints.

    Args:
      checkpoint: the folder, if the user named one.
      config: another file of options, if the user named one.

    Raises:
      InputError: if there is no such folder, or both were named.
    """
    if checkpoint is None or config:
        came = "--config" if config else "no --checkpoint"
        raise InputError(
            f"--resume must come with --checkpoint and without --config; got {came}."
        )
    return read_config(checkpoint).to_dict()


def check_resumed(folder: Path, before: dict[str, Any], chosen: Config) -> None:
    """Refuses to go on with another run; only its budget may be another.

    Args:
      folder: of the checkpoints.
      before: the fields of its config.
      chosen: the config to go on with.

    Raises:
      InputError: if another field differs, or the budget is already spent.
    """
    for name, value in chosen.to_dict().items():
        if name != "updates" and value != before[name]:
            told = f"left as it was, {before[name]!r}: only --updates may change"
            raise refusal(name, told, repr(value))
    with Checkpoints(folder) as saved:
        if chosen.updates < saved.update:
            told = f"at least the {saved.update} that were made"
            raise refusal("updates", told, f"{chosen.updates}")


def begin_folder(folder: Path, config: Config, *, resume: bool) -> None:
    """Writes a config to the folder of its run.

    Args:
      folder: a new or an empty one; that of the run if it is resumed.
      config: of the run.
      resume: whether it goes on.

    Raises:
      InputError: if it holds anything, and the run is a new one.
      OSError: if it cannot be written.
    """
    if resume:
        rewrite_config(folder, config)
    elif has_config(folder):
        came = f"{str(folder)!r}, which holds a run: --resume goes on with it"
        raise refusal("checkpoint", "a folder that is new or empty", came)
    else:
        write_config(folder, config)


def how_to_go_on(run: Run, folder: Path | None, *, ended: bool) -> str:
    """What may be done now that a run has stopped.

    Args:
      run: as it stands.
      folder: that it was saved in, if it was.
      ended: whether it came to its end.

    Returns:
      A sentence or two; none if every seed has solved the task.
    """
    if not ended:
        return f"Interrupted {_how_far(run)}. {_after_interrupt(run, folder)}"
    seeds = run.config.seeds
    if run.num_solved == seeds:
        return ""
    spent = f"The budget of {run.config.updates:,} updates is spent"
    solved = f"{spent}; {run.num_solved} of {seeds} seeds solved the task."
    told = solved if run.solved_below else f"{spent}."
    if folder is None:
        return f"{told} --updates gives more; with --checkpoint a run can go on."
    more = f"{_resume(folder)} --updates {2 * run.config.updates}"
    return f"{told} Go on with more:\n  {more}"


def _how_far(run: Run) -> str:
    if run.evaluations:
        return f"after {run.update:,} updates"
    first = min(run.config.test_every, run.config.updates)
    return f"before the first test, which comes after {first:,} updates"


def _after_interrupt(run: Run, folder: Path | None) -> str:
    if folder:
        return f"Go on with:\n  {_resume(folder)}"
    kept = "Nothing was saved" if run.evaluations else "Nothing came out yet"
    return f"{kept}; with --checkpoint FOLDER a run can go on."


def _resume(folder: Path) -> str:
    return f"optax-ltd train --checkpoint {shlex.quote(str(folder))} --resume"
