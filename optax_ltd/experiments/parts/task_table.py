"""What a task may be, a row each."""

import typing
from collections.abc import Callable, Mapping
from typing import NamedTuple

from optax_ltd import tasks


class TaskRow(NamedTuple):
    """A task.

    Attributes:
      make: From a length, and options, the task.
      options: By a field of a config that not every task has a use for, what its
        factory calls it.
      holds_out: Whether it is tested on what was held out from training, of which its
        factory is told by ``split``.
    """

    make: Callable[..., tasks.Task]
    options: Mapping[str, str] = {}
    holds_out: bool = False


_CRITERION = {"criterion": "criterion"}

TASKS: Mapping[str, TaskRow] = {
    "temporal_order": TaskRow(tasks.temporal_order),
    "temporal_order_3bit": TaskRow(tasks.temporal_order_3bit),
    "addition": TaskRow(tasks.addition, _CRITERION),
    "multiplication": TaskRow(tasks.multiplication, _CRITERION),
    "adding": TaskRow(tasks.adding, _CRITERION),
    "xor": TaskRow(tasks.xor),
    "random_permutation": TaskRow(tasks.random_permutation),
    "memorization_5bit": TaskRow(tasks.memorization_5bit),
    "memorization_20bit": TaskRow(tasks.memorization_20bit),
    "copying": TaskRow(tasks.copying),
    "text": TaskRow(tasks.text, {"text": "path"}, holds_out=True),
}
CRITERIA: tuple[str, ...] = typing.get_args(
    typing.get_type_hints(tasks.adding)["criterion"]
)


def tasks_with(field: str) -> list[str]:
    """The tasks that have a use for a field.

    Args:
      field: of a config.
    """
    return [word for word, row in TASKS.items() if field in row.options]
