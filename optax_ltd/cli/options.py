"""The fields of a config as options of a command."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from optax_ltd.cli.refusals import option_name, parser, whole
from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.config import Config, Length


def parse_length(text: str) -> Length:
    """A length such as 50, or the shortest and the longest such as 50-200.

    Args:
      text: what the user typed.

    Raises:
      ValueError: if it is neither.
    """
    if not re.fullmatch(r"\d+(-\d+)?", text):
        raise ValueError
    shortest, _, longest = text.partition("-")
    return (int(shortest), int(longest)) if longest else int(shortest)


def parse_lengths(text: str) -> list[int]:
    """Lengths such as 50,200,1000.

    Args:
      text: what the user typed.

    Raises:
      InputError: if it holds anything else.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        told = "whole numbers with commas between"
        raise refusal("lengths", told, repr(text)) from None


def takes_config(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for every field of a config but ``task``.

    Args:
      command: takes ``given``, the fields that the user gave, by name.
    """
    fields = [field for field in dataclasses.fields(Config) if field.name != "task"]

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        given = {field.name: options.pop(field.name) for field in fields}
        given = {name: value for name, value in given.items() if value is not None}
        command(given=given, **options)

    own = inspect.signature(command).parameters.values()
    parameters = [p for p in own if p.name != "given"] + list(map(_parameter, fields))
    wrapped.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _parameter(field: dataclasses.Field[Any]) -> inspect.Parameter:
    # None tells that the user did not give it, so that a file may.
    default = field.default
    option = typer.Option(
        help=field.metadata["help"] + _told(default),
        rich_help_panel=field.metadata["group"],
        show_default=False,
        **_parsing(field),
    )
    annotation: Any = Annotated[_kind(field) | None, option]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _told(default: Any) -> str:
    """A default at the end of a help; none where leaving it out is a choice."""
    if default is None:
        return ""
    if isinstance(default, bool):
        return f" Default: {'yes' if default else 'no'}."
    form = {int: ",", float: ".4g"}.get(type(default), "")
    return f" Default: {default:{form}}."


def _kind(field: dataclasses.Field[Any]) -> type:
    kinds: dict[Any, type] = {int | None: int, float | None: float}
    kinds |= {kind: kind for kind in (int, float, bool)}
    return kinds.get(field.type, str)


def _parsing(field: dataclasses.Field[Any]) -> dict[str, Any]:
    option = option_name(field.name)
    if field.type in (Length, Length | None):
        told = "a length such as 50, or a range such as 50-200"
        return {"parser": parser(option, parse_length, told), "metavar": "T or T-T"}
    if _kind(field) is int:
        return whole(option)
    if _kind(field) is float:
        return {"parser": parser(option, float, "a number"), "metavar": "<float>"}
    return {}
