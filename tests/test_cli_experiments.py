"""The commands that train, evaluate and sweep, on tiny sizes."""

import dataclasses
import json
import os
import re
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from optax_ltd import cli
from optax_ltd.experiments import sweep
from optax_ltd.experiments.checkpoints import Checkpoints
from optax_ltd.experiments.config import Config
from optax_ltd.experiments.runner import Runner
from optax_ltd.experiments.studies import STUDIES

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


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG.to_dict()))
    return path


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

    resume = "train", "--checkpoint", folder, "--resume"
    longer = invoke(*resume, "--updates", 6)
    assert longer.exit_code == 0, longer.output
    assert re.search(r"SGD +6 +0 of 1 +– ", longer.output)
    # The new budget stands.
    assert "SGD 6 0 of 1" in words_of(invoke(*resume))

    for option, reason in (
        (["--length", 20], "--length 10, not 20"),
        (["--config", config_file], "no --config"),
    ):
        refused = invoke(*resume, *option)
        assert refused.exit_code == 2
        assert reason in words_of(refused)
    assert "must be new or empty" in words_of(invoke("train", "--checkpoint", folder))

    tested = invoke("evaluate", folder, "--lengths", "10,30", "--sequences", 8)
    assert tested.exit_code == 0, tested.output
    assert re.search(r"\n +10 .*\n +30 ", tested.output)
    assert invoke("evaluate", folder, "--lengths", "5").exit_code == 2


def test_ctrl_c_saves_and_says_how_to_resume(
    tmp_path: Path, config_file: Path, monkeypatch
):
    advance = Runner.advance

    def pressed(runner: Runner):
        os.kill(os.getpid(), signal.SIGINT)
        return advance(runner)

    folder = tmp_path / "a run"
    monkeypatch.setattr(Runner, "advance", pressed)
    stopped = invoke("train", "--config", config_file, "--checkpoint", folder)
    assert stopped.exit_code == 130
    assert f"optax-ltd train --checkpoint '{folder}' --resume" in stopped.output
    with Checkpoints(folder) as saved:
        saved.restore(stopped := Runner(CONFIG))
    assert stopped.run.update == 2


def test_sweep_makes_a_record_of_each_run(tmp_path: Path):
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
    assert "another config" in words_of(invoke("sweep", path, "--output", folder))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nothing"], "TASK must be one of temporal_order,"),
        (["--length", "50-20"], "--length must be"),
        (["--length", "x"], "--length"),
        (["--length", "1-2-3"], "--length"),
        (["--test-length", "3"], "must be an int >= 10"),
        (["--test-length", "x"], "--test-length"),
        (["--seeds", "0"], "--seeds must be from 1"),
        (["--seeds", "2.5"], "--seeds"),
        (["--learning-rate", "nan"], "--learning-rate must be finite"),
        (["--method", "none+flow"], "--method must be"),
        (["--flow-form", "x"], "--flow-form must be"),
        (["--carry-max-norm", "0"], "--carry-max-norm must be"),
        (["text", "--text", "/no/file"], "--text must be a file"),
        (["--text", "/no/file"], "--text is for the task text"),
        (["--device-mesh", "9999"], "needs 9999 devices"),
        (["--config", "/no/file"], "cannot read '/no/file'"),
        (["--save-config", "/no/file"], "cannot write '/no/file'"),
        (["--checkpoint", "/dev/null/x"], "cannot make the folder"),
        (["--resume"], "--resume needs --checkpoint"),
        (["--checkpoint", "/no/folder", "--resume"], "no folder of checkpoints"),
        (["--speed", "9"], "No such option"),
    ],
)
def test_a_bad_option_of_train_is_named(arguments: list[str], reason: str):
    result = invoke("train", *arguments)
    assert result.exit_code == 2
    assert reason in words_of(result)
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["evaluate", "/no/folder", "--lengths", "10"], "no folder of checkpoints"),
        (["evaluate", "/no/folder", "--lengths", "10,x"], "whole numbers with commas"),
        (["evaluate", "/no/folder"], "--lengths"),
        (["sweep", "/no/file"], "cannot read '/no/file'"),
    ],
)
def test_a_bad_argument_is_named(arguments: list[str], reason: str):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert reason in words_of(result)


def test_every_field_is_an_option():
    shown = invoke("train", "--help").output
    for field in dataclasses.fields(Config):
        option = field.name if field.name == "task" else f"--{field.name}"
        assert option.replace("_", "-") in shown
    for command, words in (
        ("evaluate", ("--lengths", "--sequences", "--json")),
        ("sweep", ("config", "--output")),
    ):
        shown = invoke(command, "--help").output
        assert all(word in shown for word in words)


def test_reproduce_writes_where_it_says_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    study = dataclasses.replace(
        STUDIES["clip-variants"],
        configs=lambda updates: {"none": dataclasses.replace(CONFIG, updates=updates)},
    )
    monkeypatch.setitem(STUDIES, "clip-variants", study)
    command = "reproduce", "clip-variants", "--budget", 2, "--output", tmp_path
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert "Budget: 2 updates a run" in words_of(result)
    assert f"Wrote {tmp_path}/clip-variants.png" in result.output
    names = ["clip-variants.md", "clip-variants.png", "none.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "train", interrupted)
    again = invoke(*command)
    assert again.exit_code == 0, again.output
    (tmp_path / "none.json").unlink()
    stopped = invoke(*command)
    assert stopped.exit_code == 130
    assert "goes on with the next run" in stopped.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("figure8",), "must be one of cliff, figure7, .* got 'figure8'"),
        (("cliff", "--budget", "1h"), "updates of each run, such as 20000, or .* '1h'"),
    ],
)
def test_reproduce_names_what_is_wrong(arguments: tuple[str, ...], reason: str):
    result = invoke("reproduce", *arguments)
    assert result.exit_code == 2
    assert re.search(reason, words_of(result))
