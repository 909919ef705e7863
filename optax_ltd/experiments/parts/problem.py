"""The task of a run."""

import dataclasses
from collections.abc import Callable
from typing import Any

from optax_ltd import tasks
from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.choices import choose
from optax_ltd.experiments.parts.config import Config, Length

TASKS: dict[str, Callable[..., tasks.Task]] = {
    name: getattr(tasks, name)
    for name in (
        "temporal_order",
        "temporal_order_3bit",
        "addition",
        "multiplication",
        "adding",
        "xor",
        "random_permutation",
        "memorization_5bit",
        "memorization_20bit",
        "copying",
        "text",
    )
}
_CRITERIA = ("squared", "absolute")
_WITH_CRITERION = ("addition", "multiplication", "adding")


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
    split = {"split": "test"} if config.task == "text" else {}
    if length is not None:
        return _make(config, "lengths", length, **split)
    if config.test_length is not None:
        return _make(config, "test_length", config.test_length, **split)
    return _make(config, "length", config.length, **split)


def _make(config: Config, field: str, length: Length, **options: str) -> tasks.Task:
    """The task at a length, which the field holds."""
    make = choose("task", config.task, TASKS)
    options |= _options(config)
    try:
        task = make(length=length, **options)
    except OSError as error:
        raise InputError(
            f"`text` must be a file that can be read, got {config.text!r}: "
            f"{error.strerror}",
            "text",
        ) from error
    except ValueError as error:
        message = str(error).replace("`length`", f"`{field}`")
        raise InputError(message.replace("`path`", "`text`"), field) from error
    return dataclasses.replace(task, test_size=config.test_size)


def _options(config: Config) -> dict[str, Any]:
    """What some tasks alone take."""
    for field, known in (("text", ("text",)), ("criterion", _WITH_CRITERION)):
        if getattr(config, field) is not None and config.task not in known:
            told = f"`{field}` is for the task {' or '.join(known)}"
            raise InputError(f"{told}, got it for {config.task!r}", field)
    if config.criterion is not None:
        choose("criterion", config.criterion, dict.fromkeys(_CRITERIA))
        return {"criterion": config.criterion}
    return {"path": config.text} if config.task == "text" else {}
