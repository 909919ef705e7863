"""Build a release, and use it where nothing else is installed.

    python .ci/release_check.py [python3.11 python3.12]

Builds sdist and wheel into dist/, has their metadata checked, and holds what is in them
against the files that git knows. Then, under each Python, each of the two goes into an
empty environment, first without extras and then with `experiments`, and does there what
the README promises. Says in a line each what passed, and at once what did not.
Without Pythons it looks for 3.11 and a newer one, also among those of pyenv.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TOOLS = ("build>=1.2", "twine>=6.1")
EXTRA = "experiments"

# Nothing of the caller's environment may stand in for what is installed.
_HIDDEN = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    **{name: value for name, value in os.environ.items() if name not in _HIDDEN},
}

INSTALLED = """
import sys, importlib.metadata, optax_ltd
assert optax_ltd.__file__.startswith(sys.prefix), optax_ltd.__file__
assert optax_ltd.__version__ == importlib.metadata.version("optax_ltd")
"""
# What needs the extra says so.
WITHOUT_EXTRA = f"""
import subprocess, sys
for needs_it in (
    "from optax_ltd.cli import main; main()",
    "import optax_ltd as ltd; ltd.plots.updates_to_solve({{'': {{'': ([5], 9)}}}})",
):
    command = [sys.executable, "-c", needs_it]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 1 and "[{EXTRA}]" in ran.stderr, (needs_it, ran.stderr)
"""
DEMO = ("demo", "--length", "10", "--seeds", "1", "--updates", "2")
TESTS = ("tests/test_house.py", "tests/test_architecture.py", "tests/test_release.py")


def find_pythons() -> list[str]:
    """A Python 3.11, and the oldest there is of those that resolve a newer JAX."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = []
    for minors in ((11,), (12, 13, 14)):
        named = [f"python3.{minor}" for minor in minors]
        hidden = [
            str(path)
            for minor in minors
            for path in sorted(versions.glob(f"3.{minor}.*/bin/python3"))
        ]
        working = [python for python in named + hidden if _works(python)]
        if not working:
            raise SystemExit(f"There must be a {' or '.join(named)} here; got none.")
        found.append(working[0])
    return found


def _works(python: str) -> bool:
    command = [python, "-c", "import venv, ensurepip"]
    try:
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        return False


def run(*command: object, cwd: Path = ROOT) -> str:
    """Runs a command; returns what it put out, and ends with that if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        told = f"{done.stdout}{done.stderr}FAILED ({done.returncode}): "
        print(told + " ".join(words), file=sys.stderr, flush=True)
        raise SystemExit(1)
    return done.stdout.strip()


@contextmanager
def passing(what: str) -> Iterator[None]:
    """Says that the block passed, and how long it took."""
    began = time.monotonic()
    yield
    print(f"passed: {what} ({time.monotonic() - began:.0f} s)", flush=True)


class Environment:
    """An empty environment of one Python."""

    def __init__(self, python: str, folder: Path, tools: "Environment | None" = None):
        # Pip takes as long to put there as all else: that of the tools serves all.
        run(python, "-m", "venv", *(["--without-pip"] if tools else []), folder)
        self.bin = folder / "bin"
        self.python = self.bin / "python"
        pip = (tools or self).python
        self._pip = pip, "-m", "pip", "--python", self.python, "install", "--quiet"

    def install(self, *packages: str) -> None:
        """Puts packages there, of the versions that the tests run with."""
        # Python compiles what is imported; pip would compile all of SciPy too.
        options = "--no-compile", "-c", ROOT / "constraints.txt"
        run(*self._pip, *options, *packages)


def build(tools: Path) -> tuple[Path, Path]:
    """Makes sdist and wheel, the wheel from what is in the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    with passing("sdist and wheel are built"):
        run(tools, "-m", "build", "--outdir", DIST)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    with passing("twine finds nothing wrong with their metadata"):
        run(tools, "-m", "twine", "check", "--strict", sdist, wheel)
    return sdist, wheel


def compare(sdist: Path, wheel: Path) -> None:
    """Holds what was built against the files that git knows."""
    if not (ROOT / ".git").exists():
        print("not compared: git knows nothing of this folder")
        return
    with passing("the sdist holds every file that git does, the wheel the package"):
        known = set(run("git", "ls-files").splitlines())
        with tarfile.open(sdist) as archive:
            files = [member.name for member in archive if member.isfile()]
        packed = {name.partition("/")[2] for name in files} - {"PKG-INFO"}
        with zipfile.ZipFile(wheel) as archive:
            wheeled = {x for x in archive.namelist() if ".dist-info/" not in x}
        package = {name for name in known if name.startswith("optax_ltd/")}
        for name, found, wanted in (
            (sdist.name, packed, known),
            (wheel.name, wheeled, package),
        ):
            if found != wanted:
                missing, more = sorted(wanted - found), sorted(found - wanted)
                raise SystemExit(f"{name} lacks {missing} and has {more} beside.")


def look_for_links(wheel: Path) -> None:
    """Refuses a description with links that lead nowhere on the index."""
    with passing("the README as the index will show it links by full addresses"):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (x for x in archive.namelist() if x.endswith("/METADATA"))
            text = archive.read(name).decode()
        prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        if broken := re.findall(r"\]\((?!https?:|#)(.*?)\)", prose):
            raise SystemExit(f"{wheel.name} has links to {broken} in its description.")


def example() -> str:
    """The README's first example."""
    found = re.search(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S
    )
    if found is None:
        raise SystemExit("The README has no example.")
    return found[1]


def use(environment: Environment, package: Path, told: str, work: Path) -> None:
    """Installs a package without and with the extra, and uses it."""
    work.mkdir()
    python = environment.python
    with passing(f"{told} goes into an empty environment"):
        environment.install(str(package))
        run(python, "-c", INSTALLED, cwd=work)
    with passing(f"{told} runs the README's first example without extras"):
        run(python, "-c", example(), cwd=work)
    with passing(f"{told} names the extra where one is needed"):
        run(python, "-c", WITHOUT_EXTRA, cwd=work)
    with passing(f"{told}[{EXTRA}] goes there too"):
        environment.install(f"{package}[{EXTRA}]")
    with passing(f"{told}[{EXTRA}] runs `optax-ltd {' '.join(DEMO)}`"):
        run(environment.bin / "optax-ltd", *DEMO, cwd=work)
        for picture in ("error_curves.png", "gradient_flow.png"):
            if not (work / "demo" / picture).exists():
                raise SystemExit(f"The demo wrote no {picture}.")


def unpack_and_test(environment: Environment, sdist: Path, work: Path) -> None:
    """Runs some tests in the tree that the sdist holds."""
    with passing("tests of the house run in the unpacked sdist"):
        environment.install("pytest", "hypothesis")
        with tarfile.open(sdist) as archive:
            archive.extractall(work, filter="data")
        tree = work / sdist.name.removesuffix(".tar.gz")
        run(environment.python, "-m", "pytest", "-q", *TESTS, cwd=tree)


def main(pythons: list[str]) -> None:
    if dead := [python for python in pythons if not _works(python)]:
        raise SystemExit(f"Each must be a Python that runs; got {', '.join(dead)}.")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tools = Environment(sys.executable, work / "tools")
        tools.install(*TOOLS)
        sdist, wheel = build(tools.python)
        compare(sdist, wheel)
        look_for_links(wheel)

        def check(python: str) -> None:
            version = run(
                python, "-c", "import platform; print(platform.python_version())"
            )
            for kind, package in (("wheel", wheel), ("sdist", sdist)):
                name = f"{version}-{kind}"
                made = Environment(python, work / name, tools)
                use(made, package, f"Python {version}: the {kind}", work / f"in-{name}")
                if package is sdist and python == pythons[0]:
                    unpack_and_test(made, sdist, work)

        # Of one core each, and most of it is unpacking.
        with ThreadPoolExecutor(len(pythons)) as together:
            list(together.map(check, pythons))
    print(
        f"{sdist.name} and {wheel.name} are fit to be released; "
        f"all of it took {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main(sys.argv[1:] or find_pythons())
