"""What the README's example prints, and how long it takes."""

from benchmarks.benchmark import Benchmark, Measurement
from benchmarks.front_door import tables
from benchmarks.sections import one_table

BENCHMARK = Benchmark(
    {
        "readme_example": Measurement(
            f"{__name__}.readme_example", one_table(tables.side_by_side)
        )
    },
    told={"The example": tables.printed},
)
