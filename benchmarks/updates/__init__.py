"""What a guard adds to the cost of an update."""

from benchmarks.benchmark import Benchmark, Measurement
from benchmarks.sections import timed
from benchmarks.updates import tables

BENCHMARK = Benchmark(
    {
        "update_cost": Measurement(
            f"{__name__}.cost", timed(tables.targets, tables.title), tables.in_order
        )
    }
)
