"""Runs every benchmark, or those named, and writes their tables anew.

    python -m benchmarks [NAME ...]

Each has a process of its own, so that none inherits what another left in memory.
"""

import pkgutil
import subprocess
import sys

import benchmarks

HELPERS = {"__main__", "records", "tables"}


def main(chosen: list[str]) -> int:
    """Returns the exit status: 0 if all went well."""
    modules = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    names = sorted(modules - HELPERS)
    if unknown := sorted(set(chosen) - set(names)):
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
        return 2
    failed = False
    for name in [*(chosen or names), "tables"]:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
