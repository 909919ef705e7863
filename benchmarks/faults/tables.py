"""Tables of the training under faults."""

from collections.abc import Sequence

from benchmarks.markdown import NOTHING
from benchmarks.records import Entry
from optax_ltd.experiments.studies.markdown import table

HEADS = (
    "guard",
    "solved",
    "after updates",
    "still solved at the end",
    "no step",
    "another step",
    "Inf or NaN in the parameters",
)


def guards(entries: Sequence[Entry]) -> str:
    """One table a case, bursts last, with a line on its training and its faults."""
    parts = []
    for entry in sorted(entries, key=lambda entry: entry["burst"]):
        rows = [_cells(entry, name) for name in entry["guards"]]
        told = f"{_training(entry)} {_faults(entry)}"
        parts += [f"### {_title(entry)}", told, table(HEADS, rows)]
    return "\n\n".join(parts)


def _title(entry: Entry) -> str:
    start, stop = entry["burst"]
    if stop > start:
        return f"{stop - start} gradients in a row"
    return f"{100 * entry['rate']:.3g} % of the gradients"


def _training(entry: Entry) -> str:
    c = entry["config"]
    return (
        f"{c['task'].capitalize()} over {c['length']} steps, {c['hidden_size']} units, "
        f"{c['batch_size']} sequences an update, learning rate {c['learning_rate']}, "
        f"Ω with a weight of {c['flow_weight']:g}, "
        f"`max_consecutive_errors={c['max_consecutive_errors']}`; "
        f"tested every {c['test_every']} updates."
    )


def _faults(entry: Entry) -> str:
    """How many gradients of each seed were spoilt, behind every guard the same."""
    *_, met = entry["guards"].values()
    faults = [sum(kinds) for kinds in zip(*met["faults"].values(), strict=True)]
    kinds = ", ".join(f"{_alike(n)} {kind}" for kind, n in met["faults"].items())
    start, stop = entry["burst"]
    where = f", from update {start + 1:,} on" if stop > start else ""
    updates = f"{entry['config']['updates']:,}"
    return (
        f"Of {updates} gradients a seed {_alike(faults)} were spoilt{where}: {kinds}."
    )


def _cells(entry: Entry, name: str) -> list[str]:
    """One row. Numbers of all seeds in one cell stand in the order of the seeds."""
    seen, solved_below = entry["guards"][name], entry["solved_below"]
    solved_at, errors = seen["solved_at"], seen["error"]
    solved = sum(at is not None for at in solved_at)
    kept = sum(error < solved_below for error in errors)
    broken = [at for at in seen["broken_at"] if at is not None]
    return [
        f"`{name}`",
        f"{solved} of {len(solved_at)}",
        " ".join(NOTHING if at is None else f"{at:,}" for at in solved_at),
        f"{kept} of {len(errors)}",
        _alike(seen["zero"]),
        _alike(seen["replaced"]),
        f"{len(broken)} of {len(errors)}, update {_alike([at + 1 for at in broken])}"
        if broken
        else NOTHING,
    ]


def _alike(counts: Sequence[int]) -> str:
    """One number if all seeds have the same, else the least and the most."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
