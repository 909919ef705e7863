"""What the example printed: as a table, and as the README shows it."""

import re
from collections.abc import Mapping, Sequence

from benchmarks.front_door.runs import WITH_FLOW, WITHOUT_FLOW
from benchmarks.markdown import NOTHING
from benchmarks.records import Entry
from optax_ltd.experiments.studies.markdown import table


def side_by_side(entries: Sequence[Entry]) -> str:
    """Wrong answers along training, a column a run, and the time of each."""
    (entry,) = entries
    runs = entry["runs"]
    wrong = {name: _wrong(run["printed"]) for name, run in runs.items()}
    rows = []
    for update in sorted({at for seen in wrong.values() for at in seen}):
        shown = (
            f"{seen[update]} %" if update in seen else NOTHING
            for seen in wrong.values()
        )
        rows.append([f"{update:,} updates, wrong", *shown])
    rows.append(["time", *(f"{run['seconds']:.0f} s" for run in runs.values())])
    return table(["", *runs], rows)


def printed(found: Mapping[str, Sequence[Entry]]) -> str:
    """The lines as they were printed, the time, and what comes of it without Ω.

    Args:
      found: all records, by the measurement's name.

    Returns:
      Markdown.
    """
    (entry,) = found["readme_example"]
    with_flow, without = (entry["runs"][name] for name in (WITH_FLOW, WITHOUT_FLOW))
    lines = "\n".join(with_flow["printed"])
    here, later = max(_wrong(with_flow["printed"])), max(_wrong(without["printed"]))
    wrong = _wrong(without["printed"])
    return (
        f"```\n{lines}\n```\n\n"
        f"That took {with_flow['seconds']:.0f} seconds of CPU time. With "
        f"`flow_weight=0.0` the same network is at {wrong[here]} % after {here:,} "
        f"updates, and at {wrong[later]} % after {later:,}."
    )


def _wrong(printed: Sequence[str]) -> dict[int, int]:
    """Wrong answers in %, by the number of updates."""
    found = (re.fullmatch(r" *(\d+) updates: +(\d+)% wrong", line) for line in printed)
    return {int(line[1]): int(line[2]) for line in found if line}
