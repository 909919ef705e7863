"""Two processes that JAX's runtime joins take the step of one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
LONGEST = 240  # seconds
FLAGS = [
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_backend_optimization_level=0",  # Compiled quickly, for one step.
]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _start(*arguments: object) -> subprocess.Popen:
    env = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    env["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.devices.two_process_step", *map(str, arguments)],
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_take_the_step_of_one(tmp_path: Path):
    port = _free_port()
    files = [tmp_path / f"{name}.npz" for name in ("first", "second", "alone")]
    started = [_start(port, 2, i, files[i]) for i in (0, 1)]
    started.append(_start(port, 1, 0, files[2]))
    try:
        outputs = [process.communicate(timeout=LONGEST)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    first, second, alone = (np.load(file) for file in files)
    assert (first["processes"], second["processes"], alone["processes"]) == (2, 2, 1)
    for name in set(alone.files) - {"processes"}:
        assert np.array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], alone[name], rtol=2e-5, atol=1e-7)
