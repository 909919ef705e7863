"""Pin the newest versions that an older and a newer Python resolve to.

    python .ci/constraints.py python3.11 python3.12 > constraints.txt

Python 3.12 and newer resolve a newer JAX than 3.11 does, so a package whose version
differs gets two lines with an environment marker each. Nothing is installed.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = "optax-ltd"
EXTRAS = "test,docs"  # bench adds PyTorch alone, whose builds differ by machine
HEADER = """\
# What the tests ran with: versions of every package of every extra, PyTorch apart.
# Written by `make constraints`; install with `pip install -c constraints.txt`.
"""


def resolve(python: str) -> dict[str, str]:
    """Returns what `pip` would install under this Python: version by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [python, "-m", "pip", "install", "--quiet", "--dry-run"]
        pip += ["--ignore-installed", "--report", str(report), f"{ROOT}[{EXTRAS}]"]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        rows = [row["metadata"] for row in json.loads(report.read_text())["install"]]
    versions = {re.sub(r"[-_.]+", "-", row["name"]).lower(): row for row in rows}
    return {name: row["version"] for name, row in versions.items() if name != OURS}


def merge(older: dict[str, str], newer: dict[str, str]) -> list[str]:
    """Returns one line a package, or two with markers where the versions differ."""
    lines = []
    for name in sorted(older | newer):
        before, after = older.get(name), newer.get(name)
        if before == after:
            lines.append(f"{name}=={before}")
            continue
        if before:
            lines.append(f'{name}=={before} ; python_version < "3.12"')
        if after:
            lines.append(f'{name}=={after} ; python_version >= "3.12"')
    return lines


if __name__ == "__main__":
    old, new = sys.argv[1:]
    print(HEADER + "\n".join(merge(resolve(old), resolve(new))))
