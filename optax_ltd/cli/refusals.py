"""What the user gave and cannot be, as the command says it."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from optax_ltd.experiments.input_error import InputError


class Refusal(typer.BadParameter):
    """Ends the command with a message, to which nothing is added."""

    def format_message(self) -> str:
        """The message alone."""
        return self.message


def option_name(field: str) -> str:
    """The option that sets a field.

    Args:
      field: its name.
    """
    return "--" + field.replace("_", "-")


@contextmanager
def refusals(
    options: Collection[str] = (), arguments: Collection[str] = ()
) -> Iterator[None]:
    """Turns what bad input raises into a message in the user's own words.

    Args:
      options: the fields that the user gave by options.
      arguments: those that the user gave by arguments.
    """
    try:
        yield
    except InputError as error:
        message, field = str(error), error.field or ""
        if field in arguments:
            message = message.replace(f"`{field}`", field.upper())
        elif field in options:
            message = message.replace(f"`{field}`", option_name(field))
        raise Refusal(message) from error


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Turns what keeps a path from being written into a message of its option.

    Args:
      option: that the user gave it by.
      path: to be written.
    """
    try:
        yield
    except OSError as error:
        told = f"a path that can be written; got {str(path)!r} ({error.strerror})"
        raise Refusal(f"{option} must be {told}.") from error


def parser(option: str, kind: Callable[[str], Any], told: str) -> Callable[[str], Any]:
    """What reads the words of an option.

    Args:
      option: its name.
      kind: reads them, or raises `ValueError`.
      told: what they must be.
    """

    def parse(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise Refusal(f"{option} must be {told}; got {text!r}.") from None

    return parse


def whole(option: str, at_least: int | None = None) -> dict[str, Any]:
    """How Typer reads a whole number.

    Args:
      option: its name.
      at_least: the smallest that may be, if nobody else judges that.
    """

    def kind(text: str) -> int:
        number = int(text)
        if at_least is not None and number < at_least:
            raise ValueError
        return number

    told = "an int" if at_least is None else f"an int >= {at_least}"
    return {"parser": parser(option, kind, told), "metavar": "<int>"}
