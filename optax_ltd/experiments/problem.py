"""The task of a run."""

import dataclasses
from collections.abc import Callable
from typing import Any

from optax_ltd import tasks
from optax_ltd.experiments.choices import choose
from optax_ltd.experiments.config import Config, Length

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


def make_task(config: Config, length: Length | None = None) -> tasks.Task:
    """The task to train on, and to test on while training.

    Args:
      config: of the run.
      length: another length than the config's.

    Raises:
      ValueError: if task, length or criterion are unknown or out of range, or the
        text cannot be read.
    """
    return _make(config, length, {})


def make_test_task(config: Config, length: Length | None = None) -> tasks.Task:
    """As `make_task`, of the length to test at; text is drawn from what was held out.

    Args:
      config: of the run.
      length: another length than the config's.

    Raises:
      ValueError: if task, length or criterion are unknown or out of range, or the
        text cannot be read.
    """
    length = config.test_length if length is None else length
    return _make(config, length, {"split": "test"} if config.task == "text" else {})


def _make(config: Config, length: Length | None, options: dict[str, Any]) -> tasks.Task:
    make = choose("task", config.task, TASKS)
    choose("criterion", config.criterion, dict.fromkeys(_CRITERIA))
    if config.task == "text":
        options |= {"path": config.text}
    elif config.text is not None:
        raise ValueError(f"`text` is for the task text, got it for {config.task!r}")
    if config.task in _WITH_CRITERION:
        options |= {"criterion": config.criterion}
    try:
        task = make(length=config.length if length is None else length, **options)
    except OSError as error:
        raise ValueError(
            f"`text` must be a file that can be read, got {config.text!r}: "
            f"{error.strerror}"
        ) from error
    return dataclasses.replace(task, test_size=config.test_size)
