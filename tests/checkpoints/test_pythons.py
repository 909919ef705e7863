"""Which other Python a test may use."""

import sys

import pytest

from tests.checkpoints import pythons


def test_another_whole_environment_or_none(tmp_path, monkeypatch):
    monkeypatch.delenv("OTHER_PYTHON", raising=False)
    monkeypatch.setattr(pythons, "ROOT", tmp_path)
    for version, marks in {
        "3.11": [".sound", ".test"],  # this one
        "3.12": [".sound", ".test"],
        "3.13": [".sound"],  # without what the tests need
        "3.14": [".test"],  # amid an installation
    }.items():
        (tmp_path / ".venv" / version).mkdir(parents=True)
        for mark in marks:
            (tmp_path / ".venv" / version / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv" / "3.11"))
    assert pythons.other_python() == str(tmp_path / ".venv" / "3.12" / "bin" / "python")
    (tmp_path / ".venv" / "3.12" / ".sound").unlink()
    with pytest.raises(pytest.skip.Exception, match="OTHER_PYTHON"):
        pythons.other_python()
    monkeypatch.setenv("OTHER_PYTHON", "python3.12")
    assert pythons.other_python() == "python3.12"
