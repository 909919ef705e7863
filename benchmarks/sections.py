"""How the records of a measurement stand on the page."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.benchmark import Speed
from benchmarks.markdown import NOTHING, spread, verdict_of
from benchmarks.records import Entry, quartiles, ratios
from optax_ltd.experiments.studies.markdown import table

NO_GPU = "No record was taken on a GPU yet. `make bench-gpu` takes them."
Parts = Callable[[Sequence[Entry]], list[str]]


def one_table(of: Callable[[Sequence[Entry]], str]) -> Parts:
    """One table of all records, and where they come from."""
    return lambda entries: [of(entries), sources(entries)]


def timed(
    targets: Callable[[Sequence[Entry]], str], title: Callable[[Entry], str]
) -> Parts:
    """A table of targets, then one a record with the times of all contestants."""

    def parts(entries: Sequence[Entry]) -> list[str]:
        told = [targets(entries), *gpu_or_not(entries)]
        for entry in entries:
            told += [f"### {title(entry)}", _times(entry)]
            told += [*_failures(entry), _source(entry)]
        return told

    return parts


def speed(rows: Sequence[Speed], found: Mapping[str, Sequence[Entry]]) -> str:
    """The README's table: least and greatest median ratio over all settings.

    Args:
      rows: one for each pair of contestants.
      found: all records, by the measurement's name.

    Returns:
      Markdown; a platform without a record of a pair has no row for it.
    """
    cells = []
    for row in rows:
        seen: dict[str, list[float]] = {}
        for entry in filter(row.counts, found.get(row.measurement, [])):
            times = ratios(entry, row.contestant, row.measure)
            if times is not None:
                seen.setdefault(where(entry), []).append(quartiles(times)["median"])
        cells += [_speed_cells(row, at, medians) for at, medians in seen.items()]
    heads = ["what", "beside", "time, as a multiple of that", "settings"]
    return table(heads, cells)


def _speed_cells(row: Speed, at: str, medians: Sequence[float]) -> list[str]:
    low, high = f"{min(medians):.2f}", f"{max(medians):.2f}"
    times = low if low == high else f"{low} to {high}"
    return [f"{row.of}: {row.contestant}{at}", row.measure, times, f"{len(medians)}"]


def target_cells(
    entry: Entry,
    contestant: str,
    measure: str,
    limit: float | None,
    *,
    at_least: bool = False,
) -> list[str]:
    """Four cells: a ratio of times, what was seen, what was sought, and whether so.

    Args:
      entry: the record.
      contestant: whose time is divided.
      measure: by whose.
      limit: the ratio to reach; None if it is only to be low.
      at_least: whether the limit is one from below.

    Returns:
      The cells. A record that lacks one of the two leaves its own empty.
    """
    name, sign = f"`{contestant}` / `{measure}`", "≥" if at_least else "≤"
    sought = "as low as can be" if limit is None else f"{sign} {limit}"
    found = ratios(entry, contestant, measure)
    if found is None:
        return [name, NOTHING, sought, NOTHING]
    seen = quartiles(found)
    told = NOTHING if limit is None else verdict_of(seen, limit, at_least=at_least)
    return [name, spread(seen), sought, told]


def where(entry: Entry) -> str:
    """The platform, as an ending of a title; nothing on a CPU."""
    platform = entry["environment"]["platform"]
    return "" if platform == "cpu" else f", on {platform}"


def gpu_or_not(entries: Sequence[Entry]) -> list[str]:
    """Says so where no record was taken on a GPU."""
    seen = {entry["environment"]["platform"] for entry in entries}
    return [] if "gpu" in seen else [NO_GPU]


def sources(entries: Sequence[Entry]) -> str:
    """The sentences that tell where records come from, each once.

    What is told with a number of rounds is not told again without.
    """
    told = dict.fromkeys(_source(entry) for entry in entries)
    kept = [
        one for one in told if not any(other.endswith(f"; {one}") for other in told)
    ]
    return "\n\n".join(kept)


def _times(entry: Entry) -> str:
    rows = []
    for name, seen in entry["contestants"].items():
        shown = f"*`{name}`*" if name == entry["measure"] else f"`{name}`"
        times = {key: 1e3 * value for key, value in seen["seconds"].items()}
        compiled = f"{seen['compile_seconds']:.1f} s"
        rows.append([shown, spread(seen["ratio"]), spread(times), compiled])
    return table(["contestant", "ratio", "milliseconds", "compiled in"], rows)


def _failures(entry: Entry) -> list[str]:
    """What those raised that cannot do what is measured."""
    return [
        f"`{name}` cannot do this: `{error}`"
        for name, error in entry.get("failed", {}).items()
    ]


def _source(entry: Entry) -> str:
    """One sentence: rounds, device, versions, commit."""
    seen = entry["environment"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in seen["packages"].items()
        if version and name != "optax_ltd"
    )
    commit = (seen["commit"] or "unknown")[:8]
    commit += " with changes" if seen["modified"] else ""
    device = f"{seen['devices']} {seen['device']}, {seen['cores']} cores"
    parts = [device, f"Python {seen['python']}", versions]
    if "rounds" in entry:
        parts.insert(0, f"{entry['rounds']} rounds")
    return f"{'; '.join(parts)}; {seen['date']}, commit {commit}."
