"""Tables of the recurrent benchmarks: targets, memory, length, and the README's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.product_counts import floor
from benchmarks.records import quartiles
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

Entry = Mapping[str, Any]
NO_GPU = "No record was taken on a GPU yet."
NOTHING = "–"


def targets(entries: Sequence[Entry]) -> str:
    """What was to be reached, what was, and the floor; one row a ratio and setting."""
    rows = ["| setting | ratio | seen | to reach | reached | floor |", _rule(6)]
    for entry in entries:
        setting, platform = _setting(entry), entry["environment"]["platform"]
        for target in TARGETS:
            if target.platform in (None, platform):
                rows.append(_target_row(entry, target, setting))
    return "\n".join(rows)


def memory(entries: Sequence[Entry]) -> str:
    """Megabytes of every contestant, and the ratio of Ω on to off."""
    names = list(entries[0]["contestants"])
    heads = ["setting", *(f"`{name}`" for name in names)]
    heads += ["Ω on / off", "to reach", "reached"]
    rows = [_row(heads), _rule(len(heads))]
    for entry in entries:
        for kind, part in (("compiled", "total"), ("resident", "resident")):
            sizes = {n: c.get(part) for n, c in entry["contestants"].items()}
            shown = [f"{number(s / 1e6)} MB" if s else NOTHING for s in sizes.values()]
            cells = [f"{title(entry)}, {kind}", *shown, *_memory_ratio(entry, part)]
            rows.append(_row(cells))
    return "\n".join(rows)


def length(entries: Sequence[Entry]) -> str:
    """Time a step and loops of the compiled program as T grows."""
    rows = [
        "| cell | T | Ω off, µs a time step | Ω on | Ω's extra cost "
        "| loops with Ω off | with Ω on | loops over T that Ω adds |",
        _rule(8),
    ]
    for entry in sorted(entries, key=lambda e: (_where(e), _setting(e))):
        steps = entry["case"]["time"]
        off, on = (_seconds(entry, name) / steps for name in (OFF, ON))
        loops = {name: entry["loops"][name] for name in (OFF, ON)}
        added = _over_time(loops[ON], steps) - _over_time(loops[OFF], steps)
        cells = [entry["case"]["cell"] + _where(entry), f"{steps:,}"]
        cells += [_range(quartiles(1e6 * times)) for times in (off, on, on - off)]
        cells += [_loops(loops[OFF]), _loops(loops[ON]), str(added)]
        rows.append(_row(cells))
    return "\n".join(rows)


def readme(costs: Sequence[Entry], memories: Sequence[Entry]) -> str:
    """The README's table: what Ω costs, at every setting with a record."""
    rows = [
        "| cell; time × batch × hidden, inputs | Ω off | Ω on every step "
        "| on a quarter of the steps | peak memory, on / off |",
        _rule(5),
    ]
    sizes = {title(e): _memory_ratio(e, "total")[0] for e in memories}
    for entry in costs:
        s = _setting(entry)
        ratios = [_ratio(entry, name, NNX) for name in (OFF, ON, QUARTER)]
        shown = [NOTHING if r is None else f"{np.median(r):.2f}" for r in ratios]
        name = f"{s.cell}; {s.time} × {s.batch} × {s.hidden}, {s.inputs}{_where(entry)}"
        rows.append(_row([name, *shown, sizes.get(title(entry), NOTHING)]))
    return "\n".join(rows)


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


def _target_row(entry: Entry, target: Target, setting: Setting) -> str:
    ratios = _ratio(entry, target.contestant, target.measure)
    seen = reached = NOTHING
    if ratios is not None:
        spread = quartiles(ratios)
        seen = _range(spread)
        reached = _yes(target.reached(spread["median"], setting))
        if spread["lower"] <= target.limit_at(setting) <= spread["upper"]:
            reached += ", within the quartiles"
    limit = f"{'≥' if target.at_least else '≤'} {target.limit_at(setting)}"
    least = f"{floor(target.contestant, target.measure, setting):.2f}"
    name = f"`{target.contestant}` / `{target.measure}`"
    return _row([title(entry), name, seen, limit, reached, least])


def _memory_ratio(entry: Entry, part: str) -> tuple[str, str, str]:
    on, off = (entry["contestants"].get(name, {}).get(part) for name in (ON, OFF))
    if not (on and off):
        return NOTHING, NOTHING, NOTHING
    reached = _yes(MEMORY_TARGET.reached(on / off, _setting(entry)))
    return f"{on / off:.2f}", f"≤ {MEMORY_TARGET.limit}", reached


def _ratio(entry: Entry, contestant: str, measure: str) -> np.ndarray | None:
    """Ratios round by round; None if the record lacks one of the two."""
    if not {contestant, measure} <= entry["contestants"].keys():
        return None
    return _seconds(entry, contestant) / _seconds(entry, measure)


def _seconds(entry: Entry, contestant: str) -> np.ndarray:
    return np.asarray(entry["contestants"][contestant]["all_seconds"])


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


def _range(values: Mapping[str, float]) -> str:
    low, mid, high = (values[key] for key in ("lower", "median", "upper"))
    return f"{number(mid)} ({number(low)} to {number(high)})"


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns
