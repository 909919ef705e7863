"""Ctrl-C that waits for a safe moment."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_STDERR = 2
_SHOW_CURSOR = b"\x1b[?25h"  # which a bar has hidden; who is killed puts nothing back
_ANSWER = b"\nStopping as soon as it is safe. Ctrl-C again: at once.\n"


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Lets Ctrl-C take effect only where the block asks for it; a second one at once.

    The first one is answered on the standard error, as that moment may be a while off.
    A compiler that is cut short in XLA can crash Python at its exit, after all has
    been shown, so that neither message nor exit code would be the right one. Therefore
    the second one is left to the system, which ends the process as it stands, also in
    the middle of XLA, and no exit of Python follows. What was saved stands: every file
    is written whole or not at all.

    Yields:
      A function to call at safe moments; it raises ``KeyboardInterrupt`` if Ctrl-C
      was pressed. Leaving the block is not such a moment.
    """
    asked = False

    def ask(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        nonlocal asked
        asked = True
        shown = _SHOW_CURSOR if os.isatty(_STDERR) else b""
        os.write(_STDERR, shown + _ANSWER)  # print may not be called in a handler
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
