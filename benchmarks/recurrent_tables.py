"""Tables of the recurrent benchmarks: targets, memory, length, and the README's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.markdown import NOTHING, number, spread, verdict, verdict_of
from benchmarks.product_counts import floor
from benchmarks.records import quartiles, ratios, seconds
from benchmarks.recurrent_settings import (
    LONG,
    MEMORY_SETTINGS,
    MEMORY_TARGET,
    NNX,
    OFF,
    ON,
    QUARTER,
    REMAT,
    TARGETS,
    Setting,
    Target,
)
from optax_ltd.experiments.studies.markdown import table

Entry = Mapping[str, Any]


def targets(entries: Sequence[Entry]) -> str:
    """What was to be reached, what was, and the floor; one row a ratio and setting."""
    rows = []
    for entry in entries:
        setting, platform = _setting(entry), entry["environment"]["platform"]
        for target in TARGETS:
            if target.platform in (None, platform):
                rows.append(_target_row(entry, target, setting))
    heads = ["setting", "ratio", "seen", "to reach", "reached", "floor"]
    return table(heads, rows)


def memory(entries: Sequence[Entry]) -> str:
    """Megabytes of every contestant, and the ratio of Ω on to off."""
    names = list(entries[0]["contestants"])
    heads = ["setting", *(f"`{name}`" for name in names)]
    heads += ["Ω on / off", "to reach", "reached"]
    rows = []
    for entry in entries:
        for kind, part in (("compiled", "total"), ("resident", "resident")):
            sizes = {n: c.get(part) for n, c in entry["contestants"].items()}
            shown = [f"{number(s / 1e6)} MB" if s else NOTHING for s in sizes.values()]
            cells = [f"{title(entry)}, {kind}", *shown, *_memory_ratio(entry, part)]
            rows.append(cells)
    return table(heads, rows)


def length(entries: Sequence[Entry]) -> str:
    """Time a step and loops of the compiled program as T grows."""
    heads = ["cell", "T", "Ω off, µs a time step", "Ω on", "Ω's extra cost"]
    heads += ["loops with Ω off", "with Ω on", "loops over T that Ω adds"]
    rows = []
    for entry in sorted(entries, key=lambda e: (_where(e), _setting(e))):
        steps = entry["case"]["time"]
        off, on = (seconds(entry, name) / steps for name in (OFF, ON))
        loops = {name: entry["loops"][name] for name in (OFF, ON)}
        added = _over_time(loops[ON], steps) - _over_time(loops[OFF], steps)
        cells = [entry["case"]["cell"] + _where(entry), f"{steps:,}"]
        cells += [spread(quartiles(1e6 * times)) for times in (off, on, on - off)]
        cells += [_loops(loops[OFF]), _loops(loops[ON]), str(added)]
        rows.append(cells)
    return table(heads, rows)


def readme(costs: Sequence[Entry], memories: Sequence[Entry]) -> str:
    """The README's table: what Ω costs, at every setting with a record."""
    heads = ["cell; time × batch × hidden, inputs", "Ω off", "Ω on every step"]
    heads += ["on a quarter of the steps", "peak memory, on / off"]
    rows = []
    sizes = {title(e): _memory_ratio(e, "total")[0] for e in memories}
    for entry in costs:
        s = _setting(entry)
        seen = [ratios(entry, name, NNX) for name in (OFF, ON, QUARTER)]
        shown = [NOTHING if r is None else f"{np.median(r):.2f}" for r in seen]
        name = f"{s.cell}; {s.time} × {s.batch} × {s.hidden}, {s.inputs}{_where(entry)}"
        rows.append([name, *shown, sizes.get(title(entry), NOTHING)])
    return table(heads, rows)


def long_sequence(memories: Sequence[Entry]) -> list[str]:
    """The README's sentence on the memory of a long sequence, if there is a record."""
    told = []
    for entry in memories:
        sizes = [
            entry["contestants"].get(name, {}).get("total") for name in (ON, REMAT)
        ]
        if _setting(entry) == LONG and all(sizes):
            kept, again = (f"{size / 1e9:.2g} GB" for size in sizes)
            told.append(
                f"A training step over {LONG.time:,} steps of {LONG.batch} sequences "
                f"(SimpleCell, {LONG.hidden} units, Ω on) needs {kept} of memory, with "
                f"`remat` {again}{_where(entry)}."
            )
    return told


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Records by platform, then in the order of MEMORY_SETTINGS."""
    return sorted(
        entries, key=lambda e: (_where(e), MEMORY_SETTINGS.index(_setting(e)))
    )


def title(entry: Entry) -> str:
    """The setting in words; the platform too, unless it is a CPU."""
    s = _setting(entry)
    sizes = f"T = {s.time}, B = {s.batch}, H = {s.hidden}, {s.inputs} inputs"
    return f"{s.cell}, {sizes}{_where(entry)}"


def _target_row(entry: Entry, target: Target, setting: Setting) -> list[str]:
    limit, seen, reached = target.limit_at(setting), NOTHING, NOTHING
    found = ratios(entry, target.contestant, target.measure)
    if found is not None:
        seen = spread(quartiles(found))
        reached = verdict_of(quartiles(found), limit, at_least=target.at_least)
    sign = "≥" if target.at_least else "≤"
    least = f"{floor(target.contestant, target.measure, setting):.2f}"
    name = f"`{target.contestant}` / `{target.measure}`"
    return [title(entry), name, seen, f"{sign} {limit}", reached, least]


def _memory_ratio(entry: Entry, part: str) -> tuple[str, str, str]:
    on, off = (entry["contestants"].get(name, {}).get(part) for name in (ON, OFF))
    if not (on and off):
        return NOTHING, NOTHING, NOTHING
    reached = verdict(MEMORY_TARGET.reached(on / off, _setting(entry)))
    return f"{on / off:.2f}", f"≤ {MEMORY_TARGET.limit}", reached


def _over_time(counts: Sequence[int | None], steps: int) -> int:
    """How many loops turn once a time step, or once two where XLA unrolls."""
    return sum(count is None or count >= steps / 2 for count in counts)


def _loops(counts: Sequence[int | None]) -> str:
    kinds = dict.fromkeys(counts)
    shown = [f"{counts.count(n)} of {n or 'unknown'} turns" for n in kinds]
    return ", ".join(shown) or "none"


def _setting(entry: Entry) -> Setting:
    return Setting(**entry["case"])


def _where(entry: Entry) -> str:
    platform = entry["environment"]["platform"]
    return "" if platform == "cpu" else f", on {platform}"
