"""The command line: ``optax-ltd``."""

from optax_ltd._numerics.extras import MissingExtraError, naming_extra

try:
    with naming_extra("optax-ltd"):
        from optax_ltd.cli.commands import app
except KeyboardInterrupt:
    raise SystemExit(130) from None
except MissingExtraError as error:
    raise SystemExit(str(error)) from error


def main() -> None:
    """Runs the command line."""
    app()
