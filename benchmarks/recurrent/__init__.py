"""What Ω adds to a training step of a recurrent layer: time, memory, and by length."""

from benchmarks.benchmark import Benchmark, Measurement, Speed
from benchmarks.recurrent import guide, tables
from benchmarks.recurrent.settings import NAIVE, NNX, OFF, ON
from benchmarks.sections import one_table, timed

BENCHMARK = Benchmark(
    {
        "recurrent_cost": Measurement(
            f"{__name__}.cost", timed(tables.targets, tables.title), tables.in_order
        ),
        "recurrent_length": Measurement(f"{__name__}.length", one_table(tables.length)),
        "recurrent_memory": Measurement(
            f"{__name__}.memory", one_table(tables.memory), tables.in_order
        ),
    },
    told={"What Ω costs": guide.what_omega_costs},
    speed=[
        Speed("recurrent_cost", name, NNX, "a training step")
        for name in (OFF, ON, NAIVE)
    ],
)
