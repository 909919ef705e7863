"""The task of a run."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from optax_ltd import tasks
from optax_ltd.experiments.input_error import InputError, refusal
from optax_ltd.experiments.parts.choices import choose, listed
from optax_ltd.experiments.parts.config import Config, Length
from optax_ltd.experiments.parts.task_table import CRITERIA, TASKS, TaskRow, tasks_with


def make_task(config: Config) -> tasks.Task:
    """The task to train on.

    Args:
      config: of the run.

    Raises:
      InputError: if task, length or criterion are unknown or out of range, or the
        text cannot be read.
    """
    return _make(config, "length", config.length)


def make_test_task(config: Config, length: Length | None = None) -> tasks.Task:
    """The task to test on; text is drawn from what was held out.

    Args:
      config: of the run.
      length: one of several lengths to test at, instead of the config's.

    Raises:
      InputError: as `make_task` does; it calls that length ``lengths``.
    """
    if length is not None:
        return _make(config, "lengths", length, split="test")
    if config.test_length is not None:
        return _make(config, "test_length", config.test_length, split="test")
    return _make(config, "length", config.length, split="test")


def _make(
    config: Config, field: str, length: Length, split: str = "train"
) -> tasks.Task:
    """The task at a length, which the field holds."""
    row = choose("task", config.task, TASKS)
    options = _options(config, row)
    if row.holds_out:
        options["split"] = split
    try:
        task = _made(row.make, length=length, **options)
    except OSError as error:
        came = f"{config.text!r} ({error.strerror})"
        raise refusal("text", "a file that can be read", came) from error
    except ValueError as error:
        # The factory names its own arguments, the user knows fields.
        message = str(error).replace("`length`", f"`{field}`")
        for known, argument in row.options.items():
            message = message.replace(f"`{argument}`", f"`{known}`")
        raise InputError(message, field) from error
    task = dataclasses.replace(task, test_size=config.test_size)
    if config.solved_below is not None:
        if not task.solved_below:
            told = "left out unless answers to the task are right or wrong"
            raise refusal(
                "solved_below", told, f"{config.solved_below} for {config.task}"
            )
        task = dataclasses.replace(task, solved_below=config.solved_below)
    return _centred(config, task, row, options) if config.centred else task


def _centred(
    config: Config, task: tasks.Task, row: TaskRow, options: Mapping[str, str]
) -> tasks.Task:
    """The task without the means of that which is trained on, whatever its length."""
    trained = _made(row.make, length=config.length, **options)
    if trained.means is None:
        told = "left out where the means of the task are not known"
        raise refusal("centred", told, config.task)
    return tasks.centred(task, by=trained)


@cache
def _made(make: Callable[..., tasks.Task], **options: Any) -> tasks.Task:
    """The one task that all runs of a process with these options share.

    A file of text is read once for it, whatever becomes of the file.
    """
    return make(**options)


def _options(config: Config, row: TaskRow) -> dict[str, str]:
    """What this task alone, or with some others, takes."""
    for field in ("text", "criterion"):
        value = getattr(config, field)
        if value is not None and field not in row.options:
            told = f"left out unless the task is {listed(tasks_with(field))}"
            raise refusal(field, told, f"{value!r} for {config.task}")
    if config.criterion is not None:
        choose("criterion", config.criterion, dict.fromkeys(CRITERIA))
    given = {row.options[field]: getattr(config, field) for field in row.options}
    return {name: value for name, value in given.items() if value is not None}
