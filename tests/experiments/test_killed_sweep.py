"""A sweep that is killed with SIGKILL loses the run in flight alone."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training import sweep as module
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.sweep import sweep
from tests.cli.calls import CONFIG
from tests.experiments.synthetic_runs import QUIET

CONFIGS = {
    f"seeds={seeds}": dataclasses.replace(CONFIG, seeds=seeds) for seeds in (1, 2)
}
PROGRAM = """
import os, signal, sys
from pathlib import Path
from optax_ltd.experiments.training.runner import Runner
from tests.experiments.test_killed_sweep import make

advance = Runner.advance

def killed(runner, until=None):
    if runner.run.config.seeds == 2 and runner.run.update:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(runner, until)

Runner.advance = killed
make(Path(sys.argv[1]))
"""


def make(folder: Path) -> list[str]:
    return [name for name, _ in sweep(CONFIGS, folder, QUIET)]


@pytest.mark.slow
def test_a_killed_sweep_loses_the_run_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["seeds=1.json"]
    kept = (tmp_path / "seeds=1.json").read_bytes()

    trained: list[Config] = []
    make_run = module.make_run

    def seen(config: Config, *rest: Any, **options: Any) -> Run:
        trained.append(config)
        return make_run(config, *rest, **options)

    monkeypatch.setattr(module, "make_run", seen)
    assert make(tmp_path) == list(CONFIGS)
    assert trained == [CONFIGS["seeds=2"]]
    assert (tmp_path / "seeds=1.json").read_bytes() == kept
