"""What the runs of the record say, in sentences."""

from collections.abc import Iterator

import numpy as np

from optax_ltd.experiments.studies.record.runs import (
    CHANGES,
    FAULTLESS_LABELS,
    GOOD,
    LONG,
    NEAR,
    SHORT,
)
from optax_ltd.experiments.studies.study import Runs
from optax_ltd.experiments.training.run import Run


def finding(runs: Runs) -> str:
    """How far it goes, what carries it, and whether it holds.

    Args:
      runs: of the study, by name.
    """
    told = [
        _solved(T, runs) if f"{T}" in runs else f"T = {T:,} not run yet"
        for T in (SHORT, LONG)
    ]
    parts = [f"{'; '.join(told)}.", *_changed(runs), *_beyond(runs), *_held(runs)]
    return " ".join(parts)


def _solved(length: int, runs: Runs) -> str:
    """How many seeds solved the task at a length, and when the last of them had."""
    run, fresh = runs[f"{length}"], runs.get(f"{length}-fresh")
    told = f"T = {length:,} was solved by {_count(run)}"
    return told if fresh is None else f"{told}, and by {_count(fresh, 'fresh ones')}"


def _count(run: Run, seeds: str = "seeds") -> str:
    count, of_all = run.num_solved, f"of {run.config.seeds} {seeds}"
    if not count:
        return f"0 {of_all}"
    last = max(at for at in run.solved_at if at is not None)
    still = run.num_solved_at_the_end
    told = f"{count} {of_all} within {last:,} updates"
    return told if still == count else f"{told} ({still} at the last test)"


def _changed(runs: Runs) -> Iterator[str]:
    """How many seeds solved it with each of the changes."""
    changed = {f"{SHORT}-{name}": label for name, (label, _) in CHANGES.items()}
    made = {label: runs[name] for name, label in changed.items() if name in runs}
    if made:
        first = next(iter(made.values())).config
        counts = [f"{label} {run.num_solved}" for label, run in made.items()]
        yield (
            f"With one change at T = {SHORT}, of {first.seeds} seeds within "
            f"{first.updates:,} updates: {'; '.join(counts)}."
        )
    if (other := runs.get("3bit")) is not None:
        yield f"On 3-bit order: {_count(other)}."


def _beyond(runs: Runs) -> Iterator[str]:
    """What the networks of the recipe make of the next length that is new to them."""
    told = []
    for T in (SHORT, LONG):
        reach = runs[f"{T}"].reach if f"{T}" in runs else {}
        farther = next((length for length in reach if length > T), None)
        if farther is not None:
            wrong = 100 * np.array(reach[farther])
            told.append(
                f"{wrong.min():.0f} to {wrong.max():.0f} % at {farther:,} after "
                f"T = {T:,}"
            )
    if told:
        yield (
            "On lengths that are new to them the networks of the first seeds are "
            f"wrong in {' and '.join(told)}."
        )


def _held(runs: Runs) -> Iterator[str]:
    """How many networks without an error hold what they remember for longer."""
    farthest = NEAR[-1]
    errors = [
        error
        for name in FAULTLESS_LABELS
        if (run := runs.get(name)) is not None and farthest in run.reach
        for error, at in zip(run.reach[farthest], run.solved_at, strict=True)
        if at is not None
    ]
    if errors:
        good = sum(error < GOOD for error in errors)
        yield (
            f"Of {len(errors)} that were trained until they made no error in 10,000 at "
            f"T = {SHORT}, {good} were wrong in less than {100 * GOOD:g} % at "
            f"T = {farthest:,}."
        )
