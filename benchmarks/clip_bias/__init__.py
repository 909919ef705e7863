"""How the average of clipped gradients differs from the clipped average."""

from benchmarks.benchmark import Benchmark, Measurement
from benchmarks.clip_bias import tables
from benchmarks.sections import one_table

BENCHMARK = Benchmark(
    {"clip_bias": Measurement(f"{__name__}.bias", one_table(tables.angles))}
)
