"""Files of JSON that people read too."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optax_ltd.experiments.input_error import InputError


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file of JSON holds.

    Args:
      path: the file.

    Raises:
      InputError: if it cannot be read or holds anything else.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise InputError(
            f"{str(path)!r} must be a file that can be read; got {error.strerror}."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{str(path)!r} must hold JSON; got text that is none ({error})."
        ) from error
    if not isinstance(values, dict):
        raise InputError(
            f"{str(path)!r} must hold an object; got a {type(values).__name__}."
        )
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a file of JSON, whole or not at all.

    Args:
      path: of the file.
      values: what it shall hold.

    Raises:
      OSError: if it cannot be written.
      ValueError: if a number is Inf or NaN.
    """
    text = json_text(values) + "\n"
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_text(text)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def json_text(value: Any, indent: str = "") -> str:
    """Lines of JSON: one for each field of an object, and for each object in a list.

    Args:
      value: what `json.dumps` takes.
      indent: of the lines after the first.

    Raises:
      ValueError: if a number is Inf or NaN.
    """
    deeper = indent + "  "
    if isinstance(value, Mapping) and value:
        opened, closed = "{}"
        lines = [
            f"{json.dumps(str(name))}: {json_text(field, deeper)}"
            for name, field in value.items()
        ]
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        opened, closed = "[]"
        lines = [json.dumps(row, allow_nan=False) for row in value]
    else:
        return json.dumps(value, allow_nan=False)
    inside = ",\n".join(deeper + line for line in lines)
    return f"{opened}\n{inside}\n{indent}{closed}"
