"""Whether a run that is killed at random moments ends as if it never had been.

A small training run has the clips that follow the training, two transformations that
draw random steps, and adam behind them. Every 40 updates it hands all it needs to
Orbax, which writes it in the background. The run is killed with SIGKILL at a random
moment and started again, until it comes to its end; then another run begins, until
there were 20 kills. The first kill of a run comes in the time that it takes to start
it, the others while it trains. A resume *goes on from the last complete checkpoint* if
it says so, and that is the one seen in the folder when it was started. It *has the same
bits* if all it tells of parameters, optimiser's state and step, restored and after each
chunk, is what an uninterrupted run told at the same step. The end of that one is
checked against a single compiled call that saves nothing.

    python -m benchmarks.kills.kill_and_resume
"""

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.kills import tables
from benchmarks.kills.checkpointed_training import EVERY, UPDATES, bits, start, train
from benchmarks.kills.killed_runs import Life, runs

KILLS = 20


def run(folder: Path, kills: int = KILLS) -> dict[str, Any]:
    """Kills, resumes, and compares.

    Args:
      folder: an empty one, absolute.
      kills: how many.

    Returns:
      The record.
    """
    alone, *killed = runs(folder, kills=kills)
    expected = dict(alone[0].told)
    return {
        "benchmark": "kill_and_resume",
        "case": {"kills": kills},
        "environment": records.environment(),
        "config": {"updates": UPDATES, "a checkpoint every": EVERY},
        "uninterrupted_equal": all(_same(life, expected) for life in alone)
        and expected[UPDATES] == bits(train(start(), UPDATES)),
        "runs_equal": [lives[-1].told[-1] == alone[0].told[-1] for lives in killed],
        "kills": [
            outcome(life, after, expected)
            for lives in killed
            for life, after in itertools.pairwise(lives)
        ],
    }


def outcome(life: Life, after: Life, expected: Mapping[int, str]) -> dict[str, Any]:
    """What a kill did, and what the process after it made of that.

    Args:
      life: of the process that was killed.
      after: of the one that went on.
      expected: the bits of the uninterrupted run, by number of updates.

    Returns:
      A part of the record.
    """
    return {
        "trained": life.told[-1].step if life.told else life.found,
        "checkpoint": life.left,
        "updates_lost": life.lost,
        "while_saving": life.saving,
        "resumed_from": after.told[0].step,
        "equal": _same(after, expected),
    }


def _same(life: Life, expected: Mapping[int, str]) -> bool:
    """Whether all that a process told is what it should be, and it told something."""
    return bool(life.told) and all(expected.get(x.step) == x.bits for x in life.told)


def main() -> None:
    """Runs it, prints the counts and writes the record."""
    with tempfile.TemporaryDirectory() as folder:
        entry = run(Path(folder).resolve())
    print(records.write(entry))
    print(tables.kills([entry]))


if __name__ == "__main__":
    main()
