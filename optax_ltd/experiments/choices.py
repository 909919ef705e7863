"""Words that stand for things."""

from collections.abc import Mapping
from typing import TypeVar

Choice = TypeVar("Choice")


def choose(name: str, word: str, choices: Mapping[str, Choice]) -> Choice:
    """What a word stands for.

    Args:
      name: of the field, for the message.
      word: what the field holds.
      choices: what it may hold.

    Raises:
      ValueError: if it is none of these.
    """
    if word not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}; got {word!r}")
    return choices[word]
