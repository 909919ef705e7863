import os
import signal

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


def test_second_interrupt_comes_at_once():
    with deferred_interrupt():
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
