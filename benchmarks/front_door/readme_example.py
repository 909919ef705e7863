"""What the README's example prints: as it stands, and for longer without Ω.

Each has a process of its own, as where a reader runs it. Its *time* is that of the
processor, with Python's start and all that is compiled in it.

    python -m benchmarks.front_door.readme_example
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.front_door.runs import CHANGES

README = Path(__file__).parent.parent.parent / "README.md"


def example(page: str) -> str:
    """The first block of Python of a page.

    Args:
      page: its text.

    Raises:
      ValueError: if there is none.
    """
    found = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError("The page must have a block of Python; it has none.")
    return found[1]


def changed(code: str, changes: Mapping[str, str]) -> str:
    """A program in which something else stands.

    Args:
      code: of the program.
      changes: what is put in the place of what.

    Raises:
      ValueError: if a text that is to be changed does not stand there once.
    """
    for old, new in changes.items():
        if (count := code.count(old)) != 1:
            raise ValueError(f"`{old}` must stand in the example once; got {count}.")
        code = code.replace(old, new)
    return code


def execute(code: str) -> dict[str, Any]:
    """Runs a program to its end.

    Args:
      code: of the program.

    Returns:
      The lines that it `printed`, and the `seconds` of processor time that it took.
    """
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    after = os.times()
    user = after.children_user - before.children_user
    system = after.children_system - before.children_system
    return {"printed": done.stdout.splitlines(), "seconds": round(user + system, 1)}


def run(code: str) -> dict[str, Any]:
    """Runs the example with each of CHANGES.

    Args:
      code: of the example.

    Returns:
      The record.
    """
    return {
        "benchmark": "readme_example",
        "case": {},
        "environment": records.environment(),
        "code": code.splitlines(),
        "changes": CHANGES,
        "runs": {
            name: execute(changed(code, changes)) for name, changes in CHANGES.items()
        },
    }


if __name__ == "__main__":
    print(records.write(run(example(README.read_text()))))
