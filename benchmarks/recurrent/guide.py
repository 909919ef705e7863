"""What the guide says of the cost of Ω."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.markdown import NOTHING
from benchmarks.records import Entry, ratios
from benchmarks.recurrent.settings import LONG, NNX, OFF, ON, QUARTER, REMAT
from benchmarks.recurrent.tables import memory_ratio, setting_of, title
from benchmarks.sections import gpu_or_not, sources, where
from optax_ltd.experiments.studies.markdown import table


def what_omega_costs(found: Mapping[str, Sequence[Entry]]) -> str:
    """Time and memory in a table, the memory of a long sequence, and the sources.

    Args:
      found: all records, by the measurement's name.

    Returns:
      Markdown.
    """
    costs, memories = (found.get(f"recurrent_{x}", []) for x in ("cost", "memory"))
    parts = [costs_and_memory(costs, memories), *gpu_or_not(costs)]
    parts += [*long_sequence(memories), sources([*costs, *memories])]
    return "\n\n".join(parts)


def costs_and_memory(costs: Sequence[Entry], memories: Sequence[Entry]) -> str:
    """What Ω costs, at every setting with a record."""
    heads = ["cell; time × batch × hidden, inputs", "Ω off", "Ω on every step"]
    heads += ["on a quarter of the steps", "peak memory, on / off"]
    rows = []
    sizes = {title(e): memory_ratio(e, "total")[0] for e in memories}
    for entry in costs:
        s = setting_of(entry)
        seen = [ratios(entry, name, NNX) for name in (OFF, ON, QUARTER)]
        shown = [NOTHING if r is None else f"{np.median(r):.2f}" for r in seen]
        name = f"{s.cell}; {s.time} × {s.batch} × {s.hidden}, {s.inputs}{where(entry)}"
        rows.append([name, *shown, sizes.get(title(entry), NOTHING)])
    return table(heads, rows)


def long_sequence(memories: Sequence[Entry]) -> list[str]:
    """The sentence on the memory of a long sequence, if there is a record."""
    told = []
    for entry in memories:
        sizes = [
            entry["contestants"].get(name, {}).get("total") for name in (ON, REMAT)
        ]
        if setting_of(entry) == LONG and all(sizes):
            kept, again = (f"{size / 1e9:.2g} GB" for size in sizes)
            told.append(
                f"A training step over {LONG.time:,} steps of {LONG.batch} sequences "
                f"(SimpleCell, {LONG.hidden} units, Ω on) needs {kept} of memory, with "
                f"`remat` {again}{where(entry)}."
            )
    return told
