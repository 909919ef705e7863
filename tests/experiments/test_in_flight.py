"""A run of a sweep that was stopped goes on as if it had not been."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optax_ltd.experiments.training import in_flight, sweep
from optax_ltd.experiments.training.checkpoints import Checkpoints
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.experiments.training.sweep import make_run
from tests.cli.calls import CONFIG

# Its sequences have grown when it is stopped.
LONG = dataclasses.replace(
    CONFIG,
    length=(10, 14),
    grow_from=12,
    grow_below=1.0,
    updates=6,
    test_every=2,
    seeds=1,
)


class StopError(Exception):
    """Something else than Ctrl-C."""


def made(folder: Path, error: type[BaseException] | None = None) -> Run:
    """The run; the observer raises at its second test, if it is to raise."""

    def observer(runner: Runner) -> None:
        if error and runner.run.update == 4:
            raise error

    return make_run(LONG, observer, seconds=1e9, lengths=[12], states=folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run = made(folder)
    assert not folder.exists()  # it took less than a minute
    return run


def check_same(run: Run, whole: Run) -> None:
    for got, want in zip(run.evaluations, whole.evaluations, strict=True):
        assert got.update == want.update
        assert got.stage == want.stage
        for name, values in want.arrays.items():
            np.testing.assert_array_equal(got.arrays[name], values)
    assert run.reach == whole.reach


def test_ctrl_c_loses_nothing(tmp_path: Path, whole: Run):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        made(folder, KeyboardInterrupt)
    with Checkpoints(folder) as saved:
        assert saved.update == 4
    other = dataclasses.replace(LONG, learning_rate=0.3)
    with pytest.raises(ValueError, match="must be of this config"):
        make_run(other, lambda _: None, seconds=1.0, lengths=[], states=folder)
    check_same(made(folder), whole)


@pytest.mark.slow
def test_what_was_saved_in_time_is_there_after_a_kill(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(in_flight, "_SECONDS", 0.0)
    with pytest.raises(StopError):
        made(tmp_path / "run", StopError)
    with Checkpoints(tmp_path / "run") as saved:
        assert saved.update == 4
    check_same(made(tmp_path / "run"), whole)


@pytest.mark.slow
def test_ctrl_c_in_the_tests_at_other_lengths_loses_nothing(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "run"
    reaches = sweep.reaches

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "reaches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(folder)
    monkeypatch.setattr(sweep, "reaches", reaches)
    with Checkpoints(folder) as saved:
        assert saved.update == 6
    check_same(made(folder), whole)


@pytest.mark.slow
def test_a_folder_that_was_only_begun_holds_nothing(tmp_path: Path):
    """As a kill leaves it that comes before the config is written."""
    (tmp_path / "run").mkdir()
    assert made(tmp_path / "run").update == 6


@pytest.mark.slow
def test_a_damaged_state_is_set_aside_when_the_next_is_saved(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "run"
    monkeypatch.setattr(in_flight, "_SECONDS", 0.0)
    with pytest.raises(StopError):
        made(folder, StopError)
    for path in (folder / "states" / "4").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(KeyboardInterrupt):
        made(folder, KeyboardInterrupt)
    names = sorted(path.name for path in (folder / "states").iterdir())
    assert names == ["2", "4", "damaged-4-1"]
    check_same(made(folder), whole)
