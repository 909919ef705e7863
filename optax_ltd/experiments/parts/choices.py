"""Words that stand for things."""

from collections.abc import Mapping
from typing import TypeVar

from optax_ltd.experiments.input_error import InputError

Choice = TypeVar("Choice")


def choose(name: str, word: str, choices: Mapping[str, Choice]) -> Choice:
    """What a word stands for.

    Args:
      name: of the field, for the message.
      word: what the field holds.
      choices: what it may hold.

    Raises:
      InputError: if it is none of these.
    """
    if word not in choices:
        words = ", ".join(choices)
        raise InputError(f"`{name}` must be one of {words}; got {word!r}", name)
    return choices[word]
