"""Where numbers come from: a commit, or none outside a checkout."""

import subprocess
from pathlib import Path

import pytest

from optax_ltd.experiments.training import environment


def git(folder: Path, *arguments: str) -> str:
    identity = "-c", "user.name=a", "-c", "user.email=a@b"
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_the_source_is_a_commit_and_whether_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environment, "_CHECKOUT", tmp_path)
    unknown = {"commit": None, "modified": None}
    assert environment.source("optax_ltd") == unknown
    git(tmp_path, "init")
    assert environment.source("optax_ltd") == unknown
    file = tmp_path / "optax_ltd" / "__init__.py"
    file.parent.mkdir()
    file.write_text("")
    assert environment.source("optax_ltd") == unknown
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert environment.source("optax_ltd") == {"commit": commit, "modified": False}
    (tmp_path / "notes").write_text("")
    assert environment.source("optax_ltd") == {"commit": commit, "modified": False}
    file.write_text("changed = True")
    assert environment.source("optax_ltd") == {"commit": commit, "modified": True}


def test_an_environment_has_versions_and_devices():
    seen = environment.environment("pytest")
    assert set(seen) >= {"commit", "modified", "date", "device", "cores", "x64"}
    assert seen["packages"]["jax"]
    assert seen["packages"]["pytest"] == pytest.__version__
    assert (
        environment.environment("no-such-package")["packages"]["no-such-package"]
        is None
    )
