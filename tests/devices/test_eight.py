"""Runs the tests of ``on_eight`` in a process that has eight virtual devices."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_backend_optimization_level=0",  # Compiled quickly; nothing here runs long.
]


@pytest.mark.parametrize(
    "marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)]
)
def test_on_eight_devices(marked: str):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(FLAGS)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-m", marked, str(HERE / "on_eight")],
        env=env,
        cwd=HERE.parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    closing = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"[1-9]\d* passed, \d+ deselected in .*", closing), done.stdout
    assert done.returncode == 0, done.stdout
