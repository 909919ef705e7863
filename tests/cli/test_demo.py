import functools
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from optax_ltd.cli import commands
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import figures
from optax_ltd.experiments.terminal import demo
from optax_ltd.experiments.training.run import Evaluation
from tests.cli.calls import invoke, words_of
from tests.experiments.synthetic_runs import SyntheticRunner


def png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header that every PNG begins with."""
    signature, chunk, width, height = struct.unpack(">8s4x4sII", path.read_bytes()[:24])
    assert (signature, chunk) == (b"\x89PNG\r\n\x1a\n", b"IHDR")
    return width, height


def test_it_tells_its_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", invoke("--version").output)


@pytest.mark.slow
def test_demo_shows_the_table_and_writes_the_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(demo, "METHODS", ("none", "clip-norm+flow"))
    monkeypatch.setattr(figures, "_FLOW_BATCH", 2)
    sizes = {"hidden_size": 3, "batch_size": 2, "test_size": 20}
    monkeypatch.setattr(commands, "Config", functools.partial(Config, **sizes))
    folder = tmp_path / "new" / "folder"
    result = invoke(
        "demo", "--length", 10, "--seeds", 1, "--updates", 2, "--output", folder
    )
    assert result.exit_code == 0, result.output
    for method in ("SGD", "SGD + clip + Ω"):
        assert re.search(rf"{re.escape(method)}  +2  +0 of 1  +–  ", result.output)
    written = sorted(path.name for path in folder.iterdir())
    assert written == ["error_curves.png", "gradient_flow.png"]
    # Figures of 8 by 4.4 and of 7.6 by 5.6 inches, at 150 dots an inch.
    sizes = [png_size(folder / name) for name in written]
    assert sizes == [(1200, 660), (1140, 840)]
    assert all(name in result.output for name in written)


class InterruptedRunner(SyntheticRunner):
    """A runner whose second test never comes."""

    def advance(self, until: int | None = None) -> Evaluation:
        if self.has_tested:
            raise KeyboardInterrupt
        error = np.array([0.002, 0.75])
        evaluation = Evaluation(250, np.ones(2), np.ones(2), error, np.array([3, 4]))
        self.run.evaluations.append(evaluation)
        self.has_tested = True
        return evaluation


def test_interrupt_leaves_a_partial_table(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(demo, "Runner", InterruptedRunner)
    result = invoke("demo", "--seeds", 2, "--output", tmp_path)
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    (row,) = (line for line in result.output.splitlines() if "0.2 75.0" in line)
    cells = re.split(r"\s{2,}", row.strip())
    assert cells == ["SGD", "250", "1 of 2", "250 –", "0.2 75.0", "3 4"]


def test_interrupt_before_the_first_test_says_that_nothing_came_out(
    monkeypatch, tmp_path: Path
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "Runner", interrupted)
    result = invoke("demo", "--output", tmp_path)
    assert result.exit_code == 130
    assert "before the first test: nothing came out yet" in result.output
    assert "Final error" not in result.output


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--length", "9", "must be an int >= 10"),
        ("--length", "long", "must be an int; got 'long'."),
        ("--seeds", "0", "must be an int from 1"),
        ("--updates", "-5", "must be an int from 1"),
        ("--output", __file__, "is a file"),
        ("--output", __file__ + "/folder", "must be a path that can be written"),
        ("--speed", "9", "No such option"),
    ],
)
def test_bad_option_is_named(option: str, value: str, reason: str):
    result = invoke("demo", option, value)
    assert result.exit_code == 2
    assert option in result.output
    assert reason in words_of(result)
    assert "Traceback" not in result.output


def test_help_names_the_command_and_its_options():
    assert "demo" in invoke("--help").output
    output = invoke("demo", "--help").output
    for option in ("--length", "--seeds", "--updates", "--output"):
        assert option in output


@pytest.mark.parametrize("missing", ["typer", "matplotlib"])
def test_missing_extra_is_named_without_a_traceback(missing: str):
    program = (
        f"import sys; sys.modules[{missing!r}] = None; "
        "from optax_ltd.cli import main; main()"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == (
        f"optax-ltd must have {missing}, which comes with the extra experiments: "
        "pip install 'optax_ltd[experiments]'\n"
    )
