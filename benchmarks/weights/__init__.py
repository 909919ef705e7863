"""What a weight of Ω makes of a network."""

from benchmarks.benchmark import Benchmark, Measurement
from benchmarks.sections import one_table
from benchmarks.weights import tables

BENCHMARK = Benchmark(
    {
        "flow_weight": Measurement(
            f"{__name__}.flow_weight", one_table(tables.each_form)
        )
    },
    told={"What became of each weight": tables.what_became},
)
