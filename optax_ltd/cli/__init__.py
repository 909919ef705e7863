"""The command line: ``optax-ltd``."""

_EXTRA = {"matplotlib", "orbax", "rich", "typer"}

try:
    from optax_ltd.cli.commands import app
except KeyboardInterrupt:
    raise SystemExit(130) from None
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    if missing not in _EXTRA:
        raise
    raise SystemExit(
        f"optax-ltd needs {missing}, which comes with an extra; in a checkout:\n"
        "  pip install '.[experiments]'"
    ) from error


def main() -> None:
    """Runs the command line."""
    app()
