"""Whether a run that is killed ends as if it never had been."""

from benchmarks.benchmark import Benchmark, Measurement
from benchmarks.kills import tables
from benchmarks.sections import one_table

BENCHMARK = Benchmark(
    {
        "kill_and_resume": Measurement(
            f"{__name__}.kill_and_resume", one_table(tables.kills)
        )
    }
)
