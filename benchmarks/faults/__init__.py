"""What guards make of spoilt gradients."""

from benchmarks.benchmark import Benchmark, Measurement
from benchmarks.faults import tables
from benchmarks.sections import one_table

BENCHMARK = Benchmark(
    {
        "faulty_gradients": Measurement(
            f"{__name__}.faulty_gradients", one_table(tables.guards)
        )
    }
)
