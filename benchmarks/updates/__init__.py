"""What a guard adds to the cost of an update, and what a random step is made of."""

from functools import partial

from benchmarks.benchmark import Benchmark, Measurement, Speed
from benchmarks.records import Entry
from benchmarks.sections import one_table
from benchmarks.updates import tables
from benchmarks.updates.settings import APPLY_IF_FINITE, GUARD, NONE, OPTAX_CLIP, SKIP


def _finite(optimizer: str, entry: Entry) -> bool:
    """Whether a record is of updates with this optimiser and sound gradients."""
    case = entry["case"]
    return case["optimizer"] == optimizer and case["gradient"] == "finite"


BENCHMARK = Benchmark(
    {
        "compile_time": Measurement(
            f"{__name__}.compile_time", one_table(tables.compilations)
        ),
        "random_bits": Measurement(
            f"{__name__}.random_bits", one_table(tables.random_steps)
        ),
        "update_cost": Measurement(f"{__name__}.cost", tables.cost, tables.in_order),
    },
    speed=[
        Speed("update_cost", name, measure, f"an update, {way}", partial(_finite, way))
        for way, name, measure in (
            ("sgd", GUARD, OPTAX_CLIP),
            ("adam", GUARD, OPTAX_CLIP),
            ("adam", GUARD, NONE),
            ("adam", SKIP, APPLY_IF_FINITE),
        )
    ],
)
