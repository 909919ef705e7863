"""Other processes, of this Python and of others that there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def other_python() -> str:
    """The Python named in OTHER_PYTHON, or of another environment that make made."""
    if named := os.environ.get("OTHER_PYTHON"):
        return named
    # `.sound` is there between installs only, `.test` if they were those of the tests.
    whole = [mark.parent for mark in (ROOT / ".venv").glob("*/.test")]
    whole = [env for env in whole if (env / ".sound").exists()]
    others = [env for env in whole if env.resolve() != Path(sys.prefix).resolve()]
    if not others:
        pytest.skip(
            "no environment of another Python here; `PYTHON=python3.12 make test` "
            "makes one, or name one in OTHER_PYTHON"
        )
    return str(sorted(others)[-1] / "bin" / "python")


def run(python: str, module: str, *arguments: str) -> list[str]:
    """Runs a module of this checkout; returns the lines it printed."""
    # Another Python may have another XLA, which dies of a flag it does not know, and a
    # JAX that knows no accelerator.
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=ROOT,
        env=env if python == sys.executable else env | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
