"""Going on with a run that was saved."""

import shlex
from pathlib import Path
from typing import Any

import typer

from optax_ltd.experiments.input_error import InputError, refusal
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training.checkpoints import Checkpoints, read_config


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


def say_how_to_resume(checkpoint: Path | None) -> None:
    """Tells how an interrupted run goes on.

    Args:
      checkpoint: the folder it was saved in, if it was.
    """
    if checkpoint is None:
        typer.echo(
            "Interrupted. Nothing was saved, for want of --checkpoint.", err=True
        )
    else:
        typer.echo(
            "Interrupted. Go on with:\n"
            f"  optax-ltd train --checkpoint {shlex.quote(str(checkpoint))} --resume",
            err=True,
        )
