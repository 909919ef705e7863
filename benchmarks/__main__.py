"""Runs every benchmark, or those named, and writes the pages of all records anew.

    python -m benchmarks [NAME ...]

Each has a process of its own, so that none inherits what another left in memory.
"""

import subprocess
import sys

BENCHMARKS = (
    "clip_bias",
    "faulty_gradients",
    "kill_and_resume",
    "recurrent_cost",
    "recurrent_length",
    "recurrent_memory",
    "update_cost",
)
PAGES = ("tables", "reproduced")


def main(chosen: list[str]) -> int:
    """Returns the exit status: 0 if all went well."""
    if unknown := sorted(set(chosen) - set(BENCHMARKS)):
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
        return 2
    failed = False
    for name in [*(chosen or BENCHMARKS), *PAGES]:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
