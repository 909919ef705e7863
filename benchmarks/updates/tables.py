"""Tables of what an update costs, and a random step."""

from collections.abc import Sequence

from benchmarks.markdown import number, spread
from benchmarks.records import Entry
from benchmarks.sections import target_cells, timed, where
from benchmarks.updates.settings import CHAINED, OPTAX_CLIP, SETTINGS, TARGETS, Setting
from optax_ltd.experiments.studies.markdown import table


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
                rows.append([title(entry), *target_cells(entry, *pair, limit)])
        rows.append([title(entry), *target_cells(entry, CHAINED, OPTAX_CLIP, None)])
    return table(["update", "ratio", "seen", "to reach", "reached"], rows)


def chains(entries: Sequence[Entry]) -> list[str]:
    """What updates cost that are launched without waiting, if any record has it."""
    rows = [
        [title(entry), str(chained["updates"]), f"`{name}`", spread(ratio)]
        for entry in entries
        if (chained := entry.get("chained"))
        for name, ratio in chained["ratio"].items()
    ]
    heads = ["update", "launched at once", "contestant", "ratio"]
    return ["### Launched without waiting", table(heads, rows)] if rows else []


def cost(entries: Sequence[Entry]) -> list[str]:
    """All that the records of an update's cost say."""
    return [*timed(targets, title)(entries), *chains(entries)]


def random_steps(entries: Sequence[Entry]) -> str:
    """What a random step takes to compile and to run, against the record's measure."""
    rows = []
    for entry in entries:
        words = "{leaves} of {entries:,} entries".format(**entry["case"]) + where(entry)
        base = entry["contestants"][entry["measure"]]["compile_seconds"]
        for name, seen in entry["contestants"].items():
            compiled = number(seen["compile_seconds"] / base)
            shown = f"*`{name}`*" if name == entry["measure"] else f"`{name}`"
            rows.append([words, shown, compiled, spread(seen["ratio"])])
    return table(["leaves", "step", "ratio, compiling", "ratio, running"], rows)


def compilations(entries: Sequence[Entry]) -> str:
    """What an update takes to compile, against the record's measure."""
    rows = []
    for entry in entries:
        words = "{leaves} leaves, {shapes} shapes".format(**entry["case"])
        for name, seen in entry["contestants"].items():
            shown = f"*`{name}`*" if name == entry["measure"] else f"`{name}`"
            spent, fusions = spread(seen["seconds"]), str(entry["fusions"][name])
            rows.append([words, shown, spread(seen["ratio"]), spent, fusions])
    return table(["update", "contestant", "ratio", "seconds", "fusions"], rows)


def title(entry: Entry) -> str:
    """The setting in words; the platform too, unless it is a CPU."""
    s = Setting(**entry["case"])
    words = f"{s.optimizer}, {s.millions} M {s.dtype} in {s.leaves} leaves"
    words += ", one NaN" if s.gradient == "nan" else ""
    return words + where(entry)


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Records by platform, then in the order of SETTINGS."""
    return sorted(
        entries,
        key=lambda entry: (
            entry["environment"]["platform"],
            SETTINGS.index(Setting(**entry["case"])),
        ),
    )
