import os
import signal
import subprocess
import sys

import pytest

from optax_ltd.experiments.terminal.interrupt import deferred_interrupt


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_interrupt_is_answered_and_waits_for_the_next_check(
    capfd: pytest.CaptureFixture[str],
):
    with deferred_interrupt() as check:
        check()
        press_ctrl_c()
        assert "Stopping as soon as it is safe" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            check()


def test_second_interrupt_ends_the_process_at_once_and_without_python():
    """As the system does it, so that nothing of XLA is torn down."""
    program = """
import atexit, os, signal
from optax_ltd.experiments.terminal.interrupt import deferred_interrupt
atexit.register(print, "an exit of Python")
with deferred_interrupt():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    print("went on")
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGINT  # 130 to a shell
    assert ended.stdout == ""
    assert ended.stderr == (
        "\nStopping as soon as it is safe. Ctrl-C again: at once.\n"
    )


def test_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
