"""Packages that not everybody has: what an extra brings."""

from collections.abc import Iterator
from contextlib import contextmanager

_EXTRA = "experiments"
_BROUGHT = {"matplotlib", "orbax", "rich", "scipy", "typer"}


class MissingExtraError(ModuleNotFoundError):
    """A package is missing that an extra brings; the message says which."""


@contextmanager
def naming_extra(what: str) -> Iterator[None]:
    """A context of imports, in which a package that is missing is told with its extra.

    Args:
      what: needs the packages, for the message.

    Raises:
      MissingExtraError: in place of an error that does not say where the package
        comes from.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in _BROUGHT:
            raise
        # Who reads this has the package, so that pip adds to it what is missing.
        raise MissingExtraError(
            f"{what} must have {missing}, which comes with the extra {_EXTRA}: "
            f"pip install 'optax_ltd[{_EXTRA}]'",
            name=error.name,
        ) from error
