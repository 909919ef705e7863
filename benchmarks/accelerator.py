"""Takes the records of a GPU or TPU in less than eight minutes, and writes the pages.

    python -m benchmarks.accelerator [--tiny FOLDER] [NAME ...]

Each measurement has a process of its own and its share of the eight minutes. It writes
a record as soon as a setting is done and begins none that its share would not suffice
for; one that goes on beyond is stopped. JAX must see an accelerator. ``--tiny``
measures the same without any size on whatever there is, in any time, and leaves the
pages alone; its records say nothing but that all works.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import benchmarks
from benchmarks.__main__ import PAGES
from benchmarks.benchmark import measurements

EIGHT_MINUTES = 480
STARTING = 15  # to start Python, JAX and the accelerator
# Seconds of each, begun in this order, from what single steps took on an H200. Rounds
# are the small part: one of all contestants takes .25 s at the dearest recurrent
# setting, so 18 at each of the four some 12 s; with adam on 400 million parameters one
# takes .45 s. The rest is compiling: 2.5 to 3 s a training step, of which a setting has
# 13 or 14; about 2 s an update of 40 leaves, but 14 to 25 s one of 400.
SECONDS = {
    "recurrent_cost": 185,
    "update_cost": 195,
    "recurrent_length": 50,
    "recurrent_memory": 40,
}
# JAX would else take most of the memory, and PyTorch in the same process needs some.
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
REFUSED = 2  # what a program ends with that does not begin


def main(arguments: Sequence[str], package: ModuleType = benchmarks) -> int:
    """Takes the records that are asked for, or all.

    Args:
      arguments: of the command line.
      package: whose folders are the benchmarks.

    Returns:
      The exit status: 0 if all went well.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", type=Path, metavar="FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SECONDS))
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in SECONDS]:
        parser.error(f"no measurement of an accelerator: {', '.join(unknown)}")
    failed = False
    for name in options.names or SECONDS:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", measurements(package)[name].program]
        if options.tiny:
            status = _run([*command, "--tiny", str(options.tiny)])
        else:
            within = ["--accelerator", "--seconds", str(SECONDS[name] - STARTING)]
            status = _run([*command, *within], SECONDS[name])
        if status == REFUSED:
            return REFUSED
        failed |= status != 0
    if not options.tiny:
        for page in PAGES.values():
            failed |= _run([sys.executable, "-m", page]) != 0
    return int(failed)


def _run(command: list[str], seconds: float | None = None) -> int:
    """Runs a program, so long at most; returns its exit status, 1 if it was stopped."""
    environment = ENVIRONMENT | os.environ
    try:
        done = subprocess.run(command, env=environment, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        print(f"stopped after {seconds} seconds; its finished records are there")
        return 1
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
