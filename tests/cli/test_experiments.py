"""The commands that train, evaluate and sweep, on tiny sizes."""

import dataclasses
import json
import os
import re
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optax_ltd.cli import commands
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.task_table import TASKS
from optax_ltd.experiments.terminal import train as terminal_train
from optax_ltd.experiments.training import sweep
from optax_ltd.experiments.training.checkpoints import Checkpoints
from optax_ltd.experiments.training.evaluate import Reach
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.tasks import Task
from tests.cli.calls import CONFIG, invoke, words_of
from tests.experiments.synthetic_runs import SyntheticRunner, synthetic_run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG.to_dict()))
    return path


@pytest.mark.slow
def test_train_resume_and_evaluate(tmp_path: Path, config_file: Path):
    folder, saved = tmp_path / "run", tmp_path / "saved.json"
    options = "--checkpoint", folder, "--save-config", saved
    begun = invoke("train", "--config", config_file, "--seeds", 1, "--json", *options)
    assert begun.exit_code == 0, begun.output
    chosen = dataclasses.replace(CONFIG, seeds=1)
    assert Config.from_dict(json.loads(saved.read_text())) == chosen
    record = json.loads(begun.stdout)
    assert Config.from_dict(record["config"]) == chosen
    assert [e["update"] for e in record["evaluations"]] == [2, 4]

    assert (
        "The budget of 4 updates is spent; 0 of 1 seeds solved the task. Go on with "
        f"more: optax-ltd train --checkpoint {folder} --resume --updates 8"
    ) in words_of(begun)

    resume = "train", "--checkpoint", folder, "--resume"
    longer = invoke(*resume, "--updates", 6)
    assert longer.exit_code == 0, longer.output
    assert re.search(r"SGD +6 +0 of 1 +– ", longer.output)
    # The new budget stands.
    assert "SGD 6 0 of 1" in words_of(invoke(*resume))

    for option, reason in (
        (
            ["--length", 20],
            "--length must be left as it was, 10: only --updates may change; got 20",
        ),
        (["--config", config_file], "without --config"),
        (["--updates", 5], "--updates must be at least the 6 that were made; got 5"),
    ):
        refused = invoke(*resume, *option)
        assert refused.exit_code == 2
        assert reason in words_of(refused)
    refused = words_of(invoke("train", "xor", "--checkpoint", folder))
    assert "--checkpoint must be a folder that is new or empty; got " in refused
    assert "which holds a run: --resume goes on with it." in refused

    tested = invoke("evaluate", folder, "--lengths", "10,30", "--sequences", 8)
    assert tested.exit_code == 0, tested.output
    assert re.search(r"\n +10 .*\n +30 ", tested.output)
    refused = invoke("evaluate", folder, "--lengths", "10,5")
    assert refused.exit_code == 2
    assert "--lengths must be an int >= 10" in words_of(refused)


def test_each_part_of_a_text_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is trained on and what is held out, by all that one command does."""
    read = []
    row = TASKS["text"]

    def make(**options: Any) -> Task:
        read.append(options["split"])
        return row.make(**options)

    monkeypatch.setitem(TASKS, "text", row._replace(make=make))
    monkeypatch.setattr(terminal_train, "Runner", SyntheticRunner)
    path = tmp_path / "text"
    path.write_text(1000 * "ab")
    options = "--text", path, "--length", 5, "--updates", 4
    trained = invoke("train", "text", *options)
    assert trained.exit_code == 0, trained.output
    assert "SGD + clip + Ω 4 0 of 3" in words_of(trained)
    assert read == ["train", "test"]


def test_what_evaluate_prints_of_no_number_is_json(monkeypatch: pytest.MonkeyPatch):
    made = [Reach(10, np.array([np.nan, 0.5]), np.array([1.0, 0.25]))]
    monkeypatch.setattr(commands, "run_evaluate", lambda *_, **__: made)
    tested = invoke("evaluate", "folder", "--lengths", 10, "--json")
    assert tested.exit_code == 0, tested.output
    printed = json.loads(tested.stdout, parse_constant=pytest.fail)
    assert printed == [{"length": 10, "loss": [None, 0.5], "error": [1.0, 0.25]}]


@pytest.mark.slow
def test_train_spreads_over_a_mesh(config_file: Path):
    trained = invoke("train", "--config", config_file, "--device-mesh", "1x1")
    assert trained.exit_code == 0, trained.output
    assert "SGD 4 0 of 2" in words_of(trained)


def test_ctrl_c_saves_and_says_how_to_resume(
    tmp_path: Path, config_file: Path, monkeypatch
):
    advance = Runner.advance

    def pressed(runner: Runner, until: int | None = None):
        os.kill(os.getpid(), signal.SIGINT)
        return advance(runner, until)

    folder = tmp_path / "a run"
    monkeypatch.setattr(Runner, "advance", pressed)
    stopped = invoke("train", "--config", config_file, "--checkpoint", folder)
    assert stopped.exit_code == 130
    assert "Interrupted after 2 updates. Go on with:" in stopped.output
    assert f"optax-ltd train --checkpoint '{folder}' --resume" in stopped.output
    with Checkpoints(folder) as saved:
        assert saved.update == 2


@pytest.mark.parametrize("kept", [True, False])
def test_ctrl_c_before_the_first_test_says_so(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal_train, "Runner", SyntheticRunner)
    monkeypatch.setattr(terminal_train, "train_observed", interrupted)
    options = ["--checkpoint", tmp_path / "run"] if kept else []
    stopped = invoke("train", "xor", "--test-every", 40, *options)
    assert stopped.exit_code == 130
    told = words_of(stopped)
    assert "before the first test, which comes after 40 updates." in told
    assert "Solved after" not in told
    ways = "--resume", "Nothing came out yet; with --checkpoint FOLDER a run can go on."
    assert [way in told for way in ways] == [kept, not kept]


def test_sweep_makes_a_record_of_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def make_run(config: Config, *_: object, **__: object) -> Run:
        return synthetic_run(config, solved=0, updates=config.updates)

    monkeypatch.setattr(sweep, "make_run", make_run)
    path, folder = tmp_path / "sweep.json", tmp_path / "records"
    base = CONFIG.to_dict() | {"seeds": 1}
    path.write_text(json.dumps({"base": base, "grid": {"first_seed": [5]}}))
    made = invoke("sweep", path, "--output", folder)
    assert made.exit_code == 0, made.output
    assert [path.name for path in folder.iterdir()] == ["first_seed=5.json"]
    assert re.search(r"first_seed=5 +4 +0 of 1 ", made.output)
    path.write_text(json.dumps({"base": base, "grid": {"first_seed": [5.0]}}))
    assert "`first_seed` must be" in words_of(invoke("sweep", path, "--output", folder))
    base["updates"] = 3
    path.write_text(json.dumps({"base": base, "grid": {"first_seed": [5]}}))
    told = "of another config, with updates 4 in place of 3. Give this run another"
    assert told in words_of(invoke("sweep", path, "--output", folder))


def test_an_error_of_training_is_not_one_of_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"grid": {"seeds": [1]}}))
    for error in (ValueError("`seeds` of XLA"), OSError("disk full")):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(sweep, "make_run", fail)
        failed = invoke("sweep", path, "--output", tmp_path / "records")
        assert failed.exception is error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nothing"], "TASK must be one of temporal_order,"),
        (["--length", "50-20"], "--length must be"),
        (["--length", "x"], "--length must be a length such as 50, or a range"),
        (["--length", "1-2-3"], "50-200; got '1-2-3'."),
        (["--test-length", "3"], "--test-length must be an int >= 10"),
        (["--length", "50", "--test-length", "3"], "--test-length must be an int"),
        (["text", "--test-length", "999999999"], "characters (--test-length)"),
        (
            ["--criterion", "squared"],
            "--criterion must be left out unless the task is addition,",
        ),
        (["adding", "--criterion", "x"], "--criterion must be one of squared,"),
        (
            ["--test-length", "x"],
            "--test-length must be a length such as 50, or a range such as",
        ),
        (["--seeds", "0"], "--seeds must be an int from 1"),
        (["--seeds", "2.5"], "--seeds must be an int; got '2.5'."),
        (["--learning-rate", "x"], "--learning-rate must be a number; got 'x'."),
        (["--learning-rate", "nan"], "--learning-rate must be a finite number"),
        (["--method", "none+flow"], "--method must be"),
        (["--flow-form", "x"], "--flow-form must be"),
        (["--carry-max-norm", "0"], "--carry-max-norm must be"),
        (["text", "--text", "/no/file"], "--text must be a file"),
        (["--text", "/no/file"], "--text must be left out unless the task is text"),
        (["--device-mesh", "9999"], "--device-mesh must be of no more devices than"),
        (
            ["--config", "/no/file"],
            "'/no/file' must be a file that can be read; got No such",
        ),
        (["--save-config", "/no/file"], "--save-config must be a path that can be"),
        (
            ["--checkpoint", "/dev/null/x"],
            "--checkpoint must be a path that can be written; got '/dev/null/x'",
        ),
        (
            ["--resume"],
            "--resume must come with --checkpoint and without --config; got no "
            "--checkpoint.",
        ),
        (["--checkpoint", "/no/folder", "--resume"], "must be a folder of checkpoints"),
        (["--speed", "9"], "No such option"),
        (
            ["--max-value", "0.1"],
            "--max-value must be left out without clip-value; got method clip-norm",
        ),
        (
            ["--momentum", "0.5"],
            "--momentum must be left out without momentum or nesterov",
        ),
        (
            ["--method", "none", "--flow-form", "ratio"],
            "--flow-form must be left out without flow",
        ),
        (
            [
                "--method",
                "none",
                "--optimizer",
                "hessian_free",
                "--learning-rate",
                ".1",
            ],
            "--learning-rate must be left out without sgd, momentum, nesterov,",
        ),
        (
            ["--damping", "0.1"],
            "--damping must be left out without hessian_free; got method clip-norm",
        ),
        (
            ["--optimizer", "hessian_free"],
            "`method` must be none with optimizer hessian_free; got 'clip-norm+flow'",
        ),
        (
            ["--grow-factor", "3"],
            "--grow-factor must be left out where sequences do not grow",
        ),
        (
            [
                "--method",
                "none",
                "--optimizer",
                "hessian_free",
                "--grow-from",
                "20",
                "--grow-rate",
                ".5",
            ],
            "--grow-rate must be left out where there is no learning rate",
        ),
        (
            ["--grow-from", "5"],
            "--grow-from must be a length of the task, as are all that follow",
        ),
        (
            ["--forget-bias", "1"],
            "--forget-bias must be left out without lstm; got method clip-norm",
        ),
    ],
)
def test_a_bad_option_of_train_is_named(arguments: list[str], reason: str):
    task = [] if arguments[0][0] != "-" else ["temporal_order"]
    result = invoke("train", *task, *arguments)
    assert result.exit_code == 2
    assert reason in words_of(result)
    for foreign in ("Traceback", "Invalid value", "Value error"):
        assert foreign not in result.output


def test_train_asks_for_a_task():
    asked = "TASK must be one of temporal_order, temporal_order_3bit, addition,"
    for arguments in ([], ["--seeds", 1]):
        result = invoke("train", *arguments)
        assert result.exit_code == 2
        assert asked in words_of(result)
        assert "text; got none." in words_of(result)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["evaluate", "/no/folder", "--lengths", "10"],
            "CHECKPOINT must be a folder of checkpoints; got '/no/folder'.",
        ),
        (["evaluate", "/no/folder", "--lengths", "10,x"], "--lengths must be whole"),
        (["evaluate", "/no/folder"], "--lengths"),
        (
            ["evaluate", "/no/folder", "--lengths", "10", "--sequences", "0"],
            "--sequences must be an int >= 1; got '0'.",
        ),
        (
            ["sweep", "/no/file"],
            "'/no/file' must be a file that can be read; got No such",
        ),
    ],
)
def test_a_bad_argument_is_named(arguments: list[str], reason: str):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert reason in words_of(result)


def test_every_field_is_an_option():
    result = invoke("train", "--help")
    shown = result.output
    for field in dataclasses.fields(Config):
        option = field.name if field.name == "task" else f"--{field.name}"
        assert option.replace("_", "-") in shown
        assert f"─ {field.metadata['group']} ─" in shown
    words = words_of(result)
    for default in ("10,000", "0.05", "0.03333", "no", "clip-norm+flow"):
        assert f" Default: {default}." in words
    for command, words in (
        ("evaluate", ("--lengths", "--sequences", "--json")),
        ("sweep", ("config", "--output")),
    ):
        shown = invoke(command, "--help").output
        assert all(word in shown for word in words)


def test_the_package_is_a_command_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["optax-ltd", "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("optax_ltd.cli", run_name="__main__")
