"""Words that stand for things."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from optax_ltd.experiments.input_error import refusal

Choice = TypeVar("Choice")


def choose(field: str, word: str, choices: Mapping[str, Choice]) -> Choice:
    """What a word stands for.

    Args:
      field: that holds it, for the message.
      word: what the field holds.
      choices: what it may hold.

    Raises:
      InputError: if it is none of these.
    """
    if word not in choices:
        raise refusal(field, f"one of {', '.join(choices)}", repr(word))
    return choices[word]


def listed(words: Iterable[str], before_last: str = "or") -> str:
    """Words in a sentence: a, b or c.

    Args:
      words: one at least.
      before_last: what stands before the last of several.
    """
    *others, last = words
    return f"{', '.join(others)} {before_last} {last}" if others else last
