"""What the README says of its example is what the example printed."""

import json

import pytest

from benchmarks import records
from benchmarks.front_door import readme_example, tables
from benchmarks.front_door.runs import CHANGES, WITH_FLOW, WITHOUT_FLOW

EXAMPLE = readme_example.example(readme_example.README.read_text())
RUNS = {
    WITH_FLOW: {
        "printed": ["    0 updates: 77% wrong", " 1000 updates:  2% wrong"],
        "seconds": 20.6,
    },
    WITHOUT_FLOW: {
        "printed": [
            "    0 updates: 77% wrong",
            " 1000 updates: 45% wrong",
            "12000 updates: 15% wrong",
        ],
        "seconds": 61.2,
    },
}
ENTRY = {"runs": RUNS}


def test_the_record_is_of_the_example_as_it_stands():
    entry = json.loads((records.RESULTS / "readme_example-cpu.json").read_text())
    assert entry["code"] == EXAMPLE.splitlines(), "run `make bench ARGS=readme_example`"
    assert entry["changes"] == CHANGES, "run `make bench ARGS=readme_example`"


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_stands_in_the_example(name: str):
    code = readme_example.changed(EXAMPLE, CHANGES[name])
    assert (code != EXAMPLE) == bool(CHANGES[name])
    assert all(new in code for new in CHANGES[name].values())


def test_what_does_not_stand_there_once_is_refused():
    for code in ("", "weight = 2\nweight = 2\n"):
        with pytest.raises(ValueError, match=r"`weight = 2` must stand .* once"):
            readme_example.changed(code, {"weight = 2": "weight = 0"})


def test_the_first_block_of_python_is_the_example():
    page = "```\nno\n```\n\n```python\none\n\ntwo\n```\n\n```python\nthree\n```\n"
    assert readme_example.example(page) == "one\n\ntwo\n"
    with pytest.raises(ValueError, match="a block of Python"):
        readme_example.example("```\nno\n```\n")


def test_what_a_program_prints_is_kept():
    came = readme_example.execute("print('    0 updates')\nprint('1')")
    assert came["printed"] == ["    0 updates", "1"]
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    assert 0.3 <= readme_example.execute(busy)["seconds"] < 30


def test_the_readme_shows_what_was_printed():
    told = tables.printed({"readme_example": [ENTRY]})
    assert told == (
        "```\n    0 updates: 77% wrong\n 1000 updates:  2% wrong\n```\n\n"
        "That took 21 seconds of CPU time. With `flow_weight=0.0` the same network is "
        "at 45 % after 1,000 updates, and at 15 % after 12,000."
    )


def test_the_table_has_both_runs():
    assert tables.side_by_side([ENTRY]).splitlines() == [
        "|  | as it stands | without Ω |",
        "|---|---|---|",
        "| 0 updates, wrong | 77 % | 77 % |",
        "| 1,000 updates, wrong | 2 % | 45 % |",
        "| 12,000 updates, wrong | – | 15 % |",
        "| time | 21 s | 61 s |",
    ]
