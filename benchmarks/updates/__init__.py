"""What a guard adds to the cost of an update, and what a random step is made of."""

from benchmarks.benchmark import Benchmark, Measurement
from benchmarks.sections import one_table
from benchmarks.updates import tables

BENCHMARK = Benchmark(
    {
        "compile_time": Measurement(
            f"{__name__}.compile_time", one_table(tables.compilations)
        ),
        "random_bits": Measurement(
            f"{__name__}.random_bits", one_table(tables.random_steps)
        ),
        "update_cost": Measurement(f"{__name__}.cost", tables.cost, tables.in_order),
    }
)
