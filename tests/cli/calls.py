"""The command line as tests call it."""

import re

from typer.testing import CliRunner, Result

from optax_ltd import cli
from optax_ltd.experiments.parts.config import Config

# A run of no size.
CONFIG = Config(
    length=10,
    seeds=2,
    updates=4,
    test_every=2,
    test_size=20,
    batch_size=2,
    hidden_size=3,
    method="none",
)


def invoke(*arguments: object) -> Result:
    terminal = {"COLUMNS": "120", "TERM": "dumb"}
    return CliRunner(env=terminal).invoke(cli.app, [str(a) for a in arguments])


def words_of(result: Result) -> str:
    """What was put out, without the lines of a frame and their breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())
