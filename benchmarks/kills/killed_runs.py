"""Runs of the checkpointed training, killed with SIGKILL at random moments."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PROGRAM = "benchmarks.kills.checkpointed_training"
LIMIT = 300  # seconds after which a process that was left alone counts as stuck
# What the first process compiled the others load, so that they start quickly.
CACHE = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


class Told(NamedTuple):
    """What a process told at one moment.

    Attributes:
      step: updates made.
      bits: checksum of parameters, optimiser's state and step.
    """

    step: int
    bits: str


class Life(NamedTuple):
    """One process, from its start to its end.

    Attributes:
      found: the last complete checkpoint when it was started; 0 if there was none.
      told: from where it went on, and each chunk that it made.
      killed: whether it was killed; otherwise it came to its end.
      saving: whether the kill left behind a checkpoint that it had begun to write.
      left: the last complete checkpoint at its end; 0 if there was none.
      seconds: from the start, or from the line waited for, to the end.
    """

    found: int
    told: list[Told]
    killed: bool
    saving: bool
    left: int
    seconds: float

    @property
    def lost(self) -> int:
        """Updates made, and told of, that no checkpoint holds."""
        return self.told[-1].step - self.left if self.told else 0


def live(folder: Path, *, kill_after: float | None = None, lines: int = 0) -> Life:
    """Starts a process of a run and waits for its end.

    Args:
      folder: of the run's checkpoints, absolute. The folder around it holds what the
        process writes besides, and what all its runs have compiled.
      kill_after: seconds after which to kill the process; None leaves it alone.
      lines: how many it must have told before these seconds begin.

    Returns:
      Its life.

    Raises:
      RuntimeError: it failed, or was left alone and did not end.
    """
    found, before = last_complete(folder), _incomplete(folder)
    told, errors = folder.with_suffix(".told"), folder.with_suffix(".errors")
    with told.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, str(folder)],
            cwd=ROOT,
            env=os.environ | CACHE | {"JAX_COMPILATION_CACHE_DIR": str(folder.parent)},
            stdout=out,
            stderr=err,
        )
        while len(_read(told)) < lines and process.poll() is None:
            time.sleep(0.005)
        began = time.perf_counter()
        killed = _kill(process, LIMIT if kill_after is None else kill_after)
    asked = killed and kill_after is not None
    if process.returncode and not asked:
        raise RuntimeError(f"{process.args} failed: {errors.read_text()}")
    saving = killed and bool(_incomplete(folder) - before)
    seconds = time.perf_counter() - began
    return Life(found, _read(told), killed, saving, last_complete(folder), seconds)


def runs(around: Path, *, kills: int, seed: int = 0) -> Iterator[list[Life]]:
    """Kills runs at random moments and starts them again until they come to their end.

    The first kill of a run comes in the first, second or last third, in turn, of the
    time that it takes to start a process; the others after its first chunk.

    Args:
      around: an empty folder, absolute.
      kills: how many there shall be in all.
      seed: of the moments.

    Yields:
      The lives of one run. That of the first run was left alone, and has a second one
      that found nothing to do.
    """
    alone = [live(around / "alone", lines=2), live(around / "alone")]
    yield alone
    training, starting = (life.seconds for life in alone)
    moments, left, number = random.Random(seed), kills, 0
    while left:
        lives: list[Life] = []
        while not lives or lives[-1].killed:
            if not left:
                wait, lines = None, 0
            elif lives:
                wait, lines = moments.uniform(0, training / 2), 2
            else:
                third = (number % 3 + moments.uniform(0, 1)) / 3
                wait, lines = third * starting, 0
            lives.append(live(around / f"run {number}", kill_after=wait, lines=lines))
            left -= lives[-1].killed
        number += 1
        yield lives


def last_complete(folder: Path) -> int:
    """The number of the last complete checkpoint; 0 if there is none."""
    marks = folder.glob("[0-9]*/commit_success.txt")
    names = [mark.parent.name for mark in marks]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _incomplete(folder: Path) -> set[tuple[str, int, int]]:
    """The checkpoints that are not complete, each told from a later one of its name."""
    paths = [path for path in folder.glob("*") if path.name.endswith("-tmp")]
    return {(p.name, p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}


def _kill(process: subprocess.Popen, after: float) -> bool:
    """Returns whether the process was still there to be killed."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return process.returncode == -signal.SIGKILL


def _read(told: Path) -> list[Told]:
    """The lines that are whole."""
    *lines, _ = told.read_text().split("\n")
    return [Told(*json.loads(line)) for line in lines]
