"""What Ω adds to the memory of a training step of a recurrent layer.

The training step is that of the recurrent cost. *Compiled* is what XLA lays out for the
compiled step: arguments (parameters and input), results that do not take the place of
an argument, and temporaries at their peak. *Resident* is how far the peak of the
process's resident memory rises while it runs the compiled step three times, each
contestant in a process of its own: a witness, good to about a tenth where it is large,
and mostly pages of code and stacks below some ten megabytes. Linux only. For an
accelerator, whose memory XLA alone lays out, some contestants are compiled, and nothing
is run.

    python -m benchmarks.recurrent.memory
"""

import ctypes
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from benchmarks import cases, records
from benchmarks.recurrent.contestants.training_steps import sample, training_steps
from benchmarks.recurrent.settings import (
    MEMORY_SETTINGS,
    NAIVE,
    NNX,
    OFF,
    ON,
    QUARTER,
    REMAT,
    TINY,
    Setting,
)

CONTESTANTS = (NNX, OFF, ON, QUARTER, REMAT, NAIVE)
COMPILED_ALONE = (NNX, OFF, ON, REMAT)
STATUS = Path("/proc/self/status")
FORGET_THE_PEAK = Path("/proc/self/clear_refs")


def compiled_bytes(executable: Any) -> dict[str, int]:
    """What XLA lays out for a compiled program, in bytes.

    Args:
      executable: what ``lower(...).compile()`` returned.

    Returns:
      Arguments, results in places of their own, temporaries, and their sum `total`.
    """
    seen = executable.memory_analysis()
    parts = {
        "arguments": seen.argument_size_in_bytes,
        "results": seen.output_size_in_bytes - seen.alias_size_in_bytes,
        "temporaries": seen.temp_size_in_bytes,
    }
    return {**parts, "total": sum(parts.values())}


def resident_bytes(executable: Any, carry: Any, x: jax.Array) -> int | None:
    """How far the peak of resident memory rises in three steps; None if unknown."""
    if not FORGET_THE_PEAK.exists():
        return None
    # What the compiler gave back would otherwise be used again, unseen.
    ctypes.CDLL(None).malloc_trim(0)
    FORGET_THE_PEAK.write_text("5")
    before = _status("VmRSS")
    for _ in range(3):
        carry = jax.block_until_ready(executable(carry, x))
    return _status("VmHWM") - before


def compiled_step(setting: Setting, contestant: str) -> tuple[Any, Any, jax.Array]:
    """The compiled step of one contestant, with its first carry and its input."""
    x, step = sample(setting), training_steps(setting)[contestant]()
    jitted = jax.jit(step.function, donate_argnums=0)
    return jitted.lower(step.carry, x).compile(), step.carry, x


def measure(setting: Setting, contestant: str) -> dict[str, int | None]:
    """Measures one contestant in this process."""
    executable, carry, x = compiled_step(setting, contestant)
    sizes = compiled_bytes(executable)
    return {**sizes, "resident": resident_bytes(executable, carry, x)}


def run(setting: Setting, *, only_compiled: bool) -> dict[str, Any]:
    """Measures one case.

    Args:
      setting: the sizes.
      only_compiled: whether some contestants are compiled in this process, side by
        side; else each has a process of its own, and runs there.

    Returns:
      The record.
    """
    if only_compiled:
        of_one = lambda name: compiled_bytes(compiled_step(setting, name)[0])
        with ThreadPoolExecutor() as threads:
            sizes = list(threads.map(of_one, COMPILED_ALONE))
        seen = dict(zip(COMPILED_ALONE, sizes, strict=True))
    else:
        seen = {name: _elsewhere(setting, name) for name in CONTESTANTS}
    return {
        "benchmark": "recurrent_memory",
        "case": setting._asdict(),
        "environment": records.environment(),
        "measure": OFF,
        "contestants": seen,
    }


def _elsewhere(setting: Setting, contestant: str) -> dict[str, int | None]:
    which = [str(MEMORY_SETTINGS.index(setting)), contestant]
    command = [sys.executable, "-m", "benchmarks.recurrent.memory", "--only", *which]
    return json.loads(subprocess.check_output(command).splitlines()[-1])


def _status(field: str) -> int:
    lines = STATUS.read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


def main() -> None:
    """Runs every case, prints the sizes and writes the records."""
    parser = cases.parser(__doc__)
    parser.add_argument("--only", nargs=2, metavar=("SETTING", "CONTESTANT"))
    asked = cases.command(parser, MEMORY_SETTINGS, MEMORY_SETTINGS, [TINY])
    if only := asked.options.only:
        print(json.dumps(measure(MEMORY_SETTINGS[int(only[0])], only[1])))
        return
    only_compiled = bool(asked.options.accelerator or asked.options.tiny)
    for setting in asked.in_time():
        entry = run(setting, only_compiled=only_compiled)
        print(records.write(entry, asked.folder))
        for name, seen in entry["contestants"].items():
            shown = {
                part: f"{size / 1e6:.1f} MB" for part, size in seen.items() if size
            }
            print(f"  {name:41} {shown}", flush=True)


if __name__ == "__main__":
    main()
