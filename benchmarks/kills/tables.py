"""The table of what kills did to a run."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.records import Entry
from optax_ltd.experiments.studies.markdown import table


def kills(entries: Sequence[Entry]) -> str:
    """The table, a row for each count and a column for each record."""
    counts = [_counts(entry) for entry in entries]
    rows = [(name, *(str(seen[name]) for seen in counts)) for name in counts[0]]
    return table(("", *("" for _ in entries)), rows)


def _counts(entry: Entry) -> dict[str, Any]:
    killed, runs_equal = entry["kills"], entry["runs_equal"]
    lost = [kill["updates_lost"] for kill in killed]
    return {
        "kills": len(killed),
        "of these while a checkpoint was being written": sum(
            kill["while_saving"] for kill in killed
        ),
        "of these before the first checkpoint": sum(
            kill["checkpoint"] == 0 for kill in killed
        ),
        "resumes that went on from the last complete checkpoint": sum(
            kill["resumed_from"] == kill["checkpoint"] for kill in killed
        ),
        "resumes with the same bits": sum(kill["equal"] for kill in killed),
        "runs": len(runs_equal),
        "runs that ended with the bits of the uninterrupted one": sum(runs_equal),
        "updates lost by a kill, median": f"{statistics.median(lost):g}",
        "updates lost by a kill, at most": max(lost),
    }
