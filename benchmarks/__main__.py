"""Runs every benchmark, or those named, and writes the pages of all records anew.

    python -m benchmarks [NAME ...]

Each has a process of its own, so that none inherits what another left in memory.
"""

import subprocess
import sys
from types import ModuleType

import benchmarks
from benchmarks.benchmark import measurements

PAGES = {"tables": "benchmarks.tables", "reproduced": "benchmarks.reproduced"}


def main(chosen: list[str], package: ModuleType = benchmarks) -> int:
    """Runs what is chosen, or everything.

    Args:
      chosen: names of measurements.
      package: whose folders are the benchmarks.

    Returns:
      The exit status: 0 if all went well.
    """
    programs = {name: it.program for name, it in measurements(package).items()}
    if unknown := sorted(set(chosen) - set(programs)):
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(programs)}")
        return 2
    failed = False
    asked = {name: programs[name] for name in chosen or programs}
    for name, program in (asked | PAGES).items():
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", program], check=False)
        failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
