"""What Ω costs as sequences grow.

Beside the times, the loops of the compiled program by how often they turn: one forward
and one backward over the T time steps, with Ω or without. All else in the backward pass
is one piece of work on all steps at once, in no order of time, and Ω is more of it. A
CPU takes it in blocks of steps that fit its cache, a loop of far fewer turns that hand
on nothing but sums; on accelerators there is none.

    python -m benchmarks.recurrent.length
"""

from typing import Any

from benchmarks import records, timing
from benchmarks.cases import measure_each
from benchmarks.recurrent.contestants.training_steps import sample, training_steps
from benchmarks.recurrent.loops import trip_counts
from benchmarks.recurrent.settings import (
    ACCELERATOR_LENGTH_SETTINGS,
    LENGTH_SETTINGS,
    OFF,
    ON,
    TINY,
    Setting,
)


def run(setting: Setting, rounds: int) -> dict[str, Any]:
    """Measures one length.

    Args:
      setting: the sizes.
      rounds: timings of each contestant.

    Returns:
      The record, with the trip counts of all loops, by contestant.
    """
    x, makers = sample(setting), training_steps(setting)
    entrants = {name: timing.compiled(*makers[name](), x) for name in (OFF, ON)}
    loops = {
        name: trip_counts(entrant.executable.as_text() or "")
        for name, entrant in entrants.items()
    }
    seconds = timing.interleave(entrants, rounds=rounds)
    case = setting._asdict()
    return records.record(
        "recurrent_length", case, entrants, seconds, measure=OFF, loops=loops
    )


if __name__ == "__main__":
    measure_each(
        LENGTH_SETTINGS,
        run,
        rounds=15,
        about=__doc__,
        accelerator=ACCELERATOR_LENGTH_SETTINGS,
        tiny=[TINY],
    )
