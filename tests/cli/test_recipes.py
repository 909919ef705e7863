"""The commands of the README and of a guide make the runs of the studies."""

import dataclasses
import json
import shlex
from pathlib import Path

import pytest

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.growth import stages
from optax_ltd.experiments.studies.published import STUDIES
from optax_ltd.experiments.terminal import train as terminal_train
from tests.cli.calls import invoke
from tests.experiments.synthetic_runs import SyntheticRunner
from tests.test_documented_commands import LINES


@pytest.mark.parametrize(
    ("study", "name", "told"),
    [
        ("record", "200", "--length 10-200 "),
        ("record", "1000", "--length 10-1000 "),
        ("generalisation", "0-averaged", "--length 50-200 "),
        ("predecessors", "multiplication-80-nesterov", "--length 80 "),
    ],
)
def test_a_command_is_that_of_the_record(
    study: str, name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(terminal_train, "Runner", SyntheticRunner)
    line = next(line for line in LINES if told in line)
    path = tmp_path / "config.json"
    words = shlex.split(line)[1:]
    made = invoke(*words, "--updates", 2, "--save-config", path)
    assert made.exit_code == 0, made.output
    typed = Config.from_dict(json.loads(path.read_text()))
    asked = dataclasses.replace(STUDIES[study].configs(2)[name], updates=2)
    # A factor is typed with fewer digits; the lengths are the same.
    assert [s.lengths for s in stages(typed)] == [s.lengths for s in stages(asked)]
    assert dataclasses.replace(typed, grow_factor=asked.grow_factor) == asked
