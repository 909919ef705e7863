"""Tables of the recurrent benchmarks: targets, memory, length."""

from collections.abc import Sequence

from benchmarks.markdown import NOTHING, number, spread, verdict
from benchmarks.records import Entry, fastest, quartiles, seconds
from benchmarks.recurrent.product_counts import floor
from benchmarks.recurrent.settings import (
    MEMORY_SETTINGS,
    MEMORY_TARGET,
    OFF,
    ON,
    TARGETS,
    TINY,
    Setting,
)
from benchmarks.sections import target_cells, where
from optax_ltd.experiments.studies.markdown import table


def targets(entries: Sequence[Entry]) -> str:
    """What was to be reached, what was, and the floor; one row a ratio and setting."""
    rows = []
    for entry in entries:
        setting, platform = setting_of(entry), entry["environment"]["platform"]
        for target in TARGETS:
            if target.platform in (None, platform):
                pair = target.contestant, fastest(entry, target.measures)
                limit = target.limit_at(setting)
                cells = target_cells(entry, *pair, limit, at_least=target.at_least)
                rows.append([title(entry), *cells, f"{floor(*pair, setting):.2f}"])
    heads = ["setting", "ratio", "seen", "to reach", "reached", "floor"]
    return table(heads, rows)


def memory(entries: Sequence[Entry]) -> str:
    """Megabytes of every contestant, and the ratio of Ω on to off."""
    names = list(dict.fromkeys(n for entry in entries for n in entry["contestants"]))
    heads = ["setting", *(f"`{name}`" for name in names)]
    heads += ["Ω on / off", "to reach", "reached"]
    rows = []
    for entry in entries:
        for kind, part in (("compiled", "total"), ("resident", "resident")):
            sizes = [entry["contestants"].get(name, {}).get(part) for name in names]
            shown = [f"{number(s / 1e6)} MB" if s else NOTHING for s in sizes]
            cells = [f"{title(entry)}, {kind}", *shown, *memory_ratio(entry, part)]
            rows.append(cells)
    return table(heads, rows)


def length(entries: Sequence[Entry]) -> str:
    """Time a step and loops of the compiled program as T grows."""
    heads = ["cell", "T", "Ω off, µs a time step", "Ω on", "Ω's extra cost"]
    heads += ["loops with Ω off", "with Ω on", "loops over T that Ω adds"]
    rows = []
    for entry in sorted(entries, key=lambda e: (where(e), setting_of(e))):
        steps = entry["case"]["time"]
        off, on = (seconds(entry, name) / steps for name in (OFF, ON))
        loops = {name: entry["loops"][name] for name in (OFF, ON)}
        added = _over_time(entry, loops[ON]) - _over_time(entry, loops[OFF])
        cells = [entry["case"]["cell"] + where(entry), f"{steps:,}"]
        cells += [spread(quartiles(1e6 * times)) for times in (off, on, on - off)]
        cells += [_loops(loops[OFF]), _loops(loops[ON]), str(added)]
        rows.append(cells)
    return table(heads, rows)


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Records by platform, then in the order of the settings."""
    order = (*MEMORY_SETTINGS, TINY)
    return sorted(entries, key=lambda e: (where(e), order.index(setting_of(e))))


def title(entry: Entry) -> str:
    """The setting in words; the platform too, unless it is a CPU."""
    s = setting_of(entry)
    sizes = f"T = {s.time}, B = {s.batch}, H = {s.hidden}, {s.inputs} inputs"
    return f"{s.cell}, {sizes}{where(entry)}"


def memory_ratio(entry: Entry, part: str) -> tuple[str, str, str]:
    """Three cells: the memory of Ω on over off, what was sought, and whether so."""
    on, off = (entry["contestants"].get(name, {}).get(part) for name in (ON, OFF))
    if not (on and off):
        return NOTHING, NOTHING, NOTHING
    reached = verdict(MEMORY_TARGET.reached(on / off, setting_of(entry)))
    return f"{on / off:.2f}", f"≤ {MEMORY_TARGET.limit}", reached


def setting_of(entry: Entry) -> Setting:
    """The sizes that a record was taken at."""
    return Setting(**entry["case"])


def _over_time(entry: Entry, counts: Sequence[int | None]) -> int:
    """How many loops are over time.

    On a CPU the others take blocks of steps; those over time turn once a time step, or
    once two where XLA unrolls. On an accelerator there are no others, and one turn may
    be many steps.
    """
    on_a_cpu = entry["environment"]["platform"] == "cpu"
    least = entry["case"]["time"] / 2 if on_a_cpu else 0
    return sum(count is None or count >= least for count in counts)


def _loops(counts: Sequence[int | None]) -> str:
    kinds = dict.fromkeys(counts)
    shown = [f"{counts.count(n)} of {n or 'unknown'} turns" for n in kinds]
    return ", ".join(shown) or "none"
