"""Tables of what an update costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import NOTHING, spread, verdict_of
from benchmarks.records import quartiles, ratios
from benchmarks.update_settings import CHAINED, OPTAX_CLIP, SETTINGS, TARGETS, Setting
from optax_ltd.experiments.studies.markdown import table

Entry = Mapping[str, Any]


def targets(entries: Sequence[Entry]) -> str:
    """What was to be reached with finite gradients, and what was."""
    rows = []
    for entry in entries:
        setting = Setting(**entry["case"])
        if setting.gradient != "finite":
            continue
        for target in TARGETS:
            limit = target.limit_at(setting)
            if limit is not None:
                pair = target.contestant, target.measure
                rows.append([title(entry), *_row(entry, *pair, limit)])
        rows.append([title(entry), *_row(entry, CHAINED, OPTAX_CLIP, None)])
    return table(["update", "ratio", "seen", "to reach", "reached"], rows)


def title(entry: Entry) -> str:
    """The setting in words; the platform too, unless it is a CPU."""
    s = Setting(**entry["case"])
    words = f"{s.optimizer}, {s.millions} M {s.dtype} in {s.leaves} leaves"
    words += ", one NaN" if s.gradient == "nan" else ""
    platform = entry["environment"]["platform"]
    return words if platform == "cpu" else f"{words}, on {platform}"


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Records by platform, then in the order of SETTINGS."""
    return sorted(
        entries,
        key=lambda entry: (
            entry["environment"]["platform"],
            SETTINGS.index(Setting(**entry["case"])),
        ),
    )


def _row(entry: Entry, contestant: str, measure: str, limit: float | None) -> list[str]:
    name, found = f"`{contestant}` / `{measure}`", ratios(entry, contestant, measure)
    sought = "as low as can be" if limit is None else f"≤ {limit}"
    if found is None:
        return [name, NOTHING, sought, NOTHING]
    seen = quartiles(found)
    told = NOTHING if limit is None else verdict_of(seen, limit, at_least=False)
    return [name, spread(seen), sought, told]
