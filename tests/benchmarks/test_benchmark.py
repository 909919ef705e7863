"""A folder that exports its object is a benchmark: it is run and told, by no list."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import benchmarks
from benchmarks import __main__ as runner
from benchmarks import marks, tables
from benchmarks.benchmark import find, measurements

OBJECT = """
from benchmarks.benchmark import Benchmark, Measurement

PROGRAM = f"{__name__}.program"
BENCHMARK = Benchmark(
    {"new": Measurement(PROGRAM, lambda entries: [f"{len(entries)} seen"])},
    told={"What is new": lambda found: f"{len(found['new'])} found"},
)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Another package of benchmarks, with one folder beside a folder of records."""
    folder = tmp_path / "others" / "new_one"
    folder.mkdir(parents=True)
    (tmp_path / "others" / "__init__.py").touch()
    (folder / "__init__.py").write_text(OBJECT)
    (folder / "program.py").write_text('"""It measures."""\nprint("measured")\n')
    results = tmp_path / "others" / "results"
    results.mkdir()
    (results / "new-cpu.json").write_text(json.dumps({"benchmark": "new"}))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("others")
    for name in [n for n in sys.modules if n.split(".")[0] == "others"]:
        del sys.modules[name]


def test_a_new_folder_is_on_the_pages(package: ModuleType, tmp_path: Path):
    results = tmp_path / "others" / "results"
    assert tables.page(results, package).endswith(
        "\n## New\n\nIt measures.\n\n1 seen\n"
    )
    begin = marks.begin("What is new", "benchmarks.tables")
    text = tables.told(f"a\n{begin}old\n{marks.END}b\n", results, package)
    assert text == f"a\n{begin}\n1 found\n\n{marks.END}b\n"


def test_a_record_of_no_benchmark_is_seen(package: ModuleType, tmp_path: Path):
    (tmp_path / "lost.json").write_text(json.dumps({"benchmark": "lost"}))
    with pytest.raises(KeyError, match="lost"):
        tables.page(tmp_path, package)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules that the runner starts, none of which is."""
    modules: list[str] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess:
        del check
        modules.append(command[-1])
        return subprocess.CompletedProcess(command, "kill" in command[-1])

    monkeypatch.setattr(subprocess, "run", run)
    return modules


def test_a_new_folder_is_run(package: ModuleType, started: list[str]):
    assert runner.main([], package) == 0
    assert started == ["others.new_one.program", *runner.PAGES.values()]


def test_the_runner_knows_what_is_there(started: list[str]):
    assert runner.main(["update_cost"]) == 0
    assert started == ["benchmarks.updates.cost", *runner.PAGES.values()]
    assert runner.main(["kill_and_resume"]) == 1, "as one that failed"


def test_what_is_not_there_is_not_run(
    started: list[str], capsys: pytest.CaptureFixture[str]
):
    assert runner.main(["update_cost", "update"]) == 2
    assert not started
    assert capsys.readouterr().out == (
        "no benchmark update; there are clip_bias, compile_time, faulty_gradients, "
        "flow_weight, kill_and_resume, random_bits, readme_example, recurrent_cost, "
        "recurrent_length, recurrent_memory, update_cost\n"
    )


def test_each_measurement_is_a_program_that_says_what_it_measures():
    for name, measurement in measurements(benchmarks).items():
        assert f"\n    python -m {measurement.program}" in measurement.about, name


def test_no_two_benchmarks_measure_the_same():
    names = [name for it in find(benchmarks) for name in it.measurements]
    assert len(names) == len(set(names))
