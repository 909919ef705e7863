"""The pages that benchmarks write say what the records say."""

import copy
import json

import pytest

from benchmarks import markdown, marks, sections, tables
from benchmarks.benchmark import Speed
from benchmarks.recurrent import guide
from benchmarks.recurrent import tables as recurrent_tables
from benchmarks.recurrent.settings import (
    CUDNN,
    LARGEST,
    LINEN,
    NAIVE,
    NNX,
    NNX_16,
    OFF,
    ON,
    QUARTER,
    SETTINGS,
    Setting,
)

SECONDS = {NNX: 1.0, LINEN: 2.0, OFF: 1.5, ON: 1.4, QUARTER: 1.25, NAIVE: 4.2}


def _entry(platform: str = "cpu", *without: str, time: int = 200) -> dict:
    case = SETTINGS[0]._replace(time=time)._asdict()
    timed = {
        name: {"all_seconds": [seconds, seconds], "total": seconds, "resident": None}
        for name, seconds in SECONDS.items()
        if name not in without
    }
    return {
        "case": case,
        "environment": {"platform": platform},
        "contestants": timed,
        "loops": {OFF: [time, time], ON: [time, time, 7]},
    }


def _cells(table: str, containing: str) -> list[str]:
    (row,) = (row for row in table.splitlines() if containing in row)
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_page_is_what_the_records_give():
    assert tables.PAGE.read_text() == tables.page(), "run `python -m benchmarks.tables`"


def test_other_pages_are_what_the_records_give():
    texts = [path.read_text() for path in tables.PAGES]
    assert texts == [tables.told(t) for t in texts], "run `python -m benchmarks.tables`"


def test_what_is_told_elsewhere_stands_in_one_page():
    text = "".join(path.read_text() for path in tables.PAGES)
    for heading in tables.headings():
        assert text.count(marks.begin(heading, tables.MODULE)) == 1, heading


def test_speed_is_the_least_and_the_greatest_median_on_a_platform():
    row = Speed("cost", ON, NNX, "a step", lambda entry: entry["case"]["time"] > 5)
    more = _entry(time=300)
    more["contestants"][ON]["all_seconds"] = [1.0, 2.0, 9.0]
    more["contestants"][NNX]["all_seconds"] = [1.0, 1.0, 1.0]
    entries = [_entry(), more, _entry("gpu"), _entry(time=4), _entry("cpu", NNX)]
    assert sections.speed([row], {"cost": entries}).splitlines()[2:] == [
        f"| a step: {ON} | {NNX} | 1.40 to 2.00 | 2 |",
        f"| a step: {ON}, on gpu | {NNX} | 1.40 | 1 |",
    ]


@pytest.mark.parametrize(
    ("ratio", "seen", "limit", "reached"),
    [
        (f"`{OFF}` / `{NNX}`", "1.5", "≤ 1.0", "**no**"),
        (f"`{OFF}` / `{LINEN}`", "0.75", "≤ 1.0", "yes"),
        (f"`{ON}` / `{NNX}`", "1.4", "≤ 1.3", "**no**"),
        (f"`{QUARTER}` / `{NNX}`", "1.25", "≤ 1.15", "**no**"),
        (f"`{NAIVE}` / `{ON}`", "3", "≥ 2.5", "yes"),
    ],
)
def test_each_target_stands_beside_what_was_seen(ratio, seen, limit, reached):
    cells = _cells(recurrent_tables.targets([_entry()]), ratio)
    assert cells[2:5] == [f"{seen} ({seen} to {seen})", limit, reached]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.01234, "0.0123"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1,000"),
        (1884, "1,884"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, shown: str):
    assert markdown.number(value) == shown


def test_the_limit_at_the_first_setting_is_its_own():
    elsewhere = recurrent_tables.targets([_entry(time=1000)])
    assert _cells(elsewhere, f"`{ON}` / `{NNX}`")[3:5] == ["≤ 1.6", "yes"]


def test_a_limit_inside_the_spread_is_called_so():
    entry = _entry()
    entry["contestants"][OFF]["all_seconds"] = [0.9, 1.2]
    cells = _cells(recurrent_tables.targets([entry]), f"`{OFF}` / `{NNX}`")
    assert cells[4] == "**no**, within the quartiles"


def test_a_record_without_a_contestant_leaves_its_cells_empty():
    table = recurrent_tables.targets([_entry("cpu", QUARTER)])
    assert _cells(table, f"`{QUARTER}` / `{NNX}`")[2:5] == ["–", "≤ 1.15", "–"]
    (row,) = guide.costs_and_memory([_entry("cpu", QUARTER)], []).splitlines()[2:]
    assert row.endswith("| 1.50 | 1.40 | – | – |")


def test_a_gpu_has_its_own_target():
    gpu, cpu = (recurrent_tables.targets([_entry(x)]) for x in ("gpu", "cpu"))
    assert _cells(gpu, f"`{ON}` / `{OFF}`")[2:5] == [
        "0.933 (0.933 to 0.933)",
        "≤ 1.1",
        "yes",
    ]
    assert f"`{ON}` / `{OFF}`" not in cpu


def test_a_gpu_is_held_against_the_best_unroll():
    entry = _entry("gpu")
    entry["contestants"][NNX_16] = {"all_seconds": [0.5, 0.5]}
    table = recurrent_tables.targets([entry])
    assert _cells(table, f"`{ON}` / `{NNX_16}`")[2:5] == [
        "2.8 (2.8 to 2.8)",
        "≤ 0.75",
        "**no**",
    ]


@pytest.mark.parametrize(
    ("setting", "reached"),
    [(SETTINGS[0], ["≤ 2.0", "yes"]), (LARGEST, ["≤ 0.75", "**no**"])],
)
def test_a_gpu_is_held_against_cudnn(setting: Setting, reached: list[str]):
    layer = CUDNN[setting.cell]
    entry = {**_entry("gpu"), "case": setting._asdict()}
    entry["contestants"][layer] = {"all_seconds": [0.8, 0.8]}
    table = recurrent_tables.targets([entry])
    assert _cells(table, f"`{ON}` / `{layer}`")[3:5] == reached


def test_memory_has_its_ratio():
    table = recurrent_tables.memory([_entry()])
    assert _cells(table, "compiled")[-3:] == ["0.93", "≤ 1.5", "yes"]
    assert _cells(table, "resident")[-3:] == ["–", "–", "–"]


def test_memory_leaves_a_cell_empty_that_a_record_lacks():
    table = recurrent_tables.memory([_entry(), _entry("gpu", QUARTER)])
    assert len({row.count("|") for row in table.splitlines()}) == 1
    quarter = table.splitlines()[0].split("|").index(f" `{QUARTER}` ")
    (row,) = (row for row in table.splitlines() if "on gpu, compiled" in row)
    assert row.split("|")[quarter].strip() == "–"


def test_on_a_gpu_every_loop_is_over_time():
    entry = _entry("gpu")
    entry["loops"] = {OFF: [13, 13], ON: [13, 13]}  # sixteen steps a turn
    assert _cells(recurrent_tables.length([entry]), "| 200 |")[-1] == "0"
    entry["loops"][ON].append(13)
    assert _cells(recurrent_tables.length([entry]), "| 200 |")[-1] == "1"


def test_length_counts_the_loops_over_time():
    plain = _entry()
    assert _cells(recurrent_tables.length([plain]), "| 200 |")[-1] == "0"
    more = copy.deepcopy(plain)
    more["loops"][ON].append(200)
    assert _cells(recurrent_tables.length([more]), "| 200 |")[-1] == "1"
    unrolled = copy.deepcopy(plain)
    unrolled["loops"][ON].append(None)
    assert _cells(recurrent_tables.length([unrolled]), "| 200 |")[-1] == "1"


def test_the_page_of_no_gpu_says_so(tmp_path):
    begin = marks.begin("What Ω costs", "benchmarks.tables")
    text = f"before\n{begin}old\n{marks.END}after\n"
    for platform, expected in (("cpu", True), ("gpu", False)):
        (record,) = tables.RESULTS.glob("recurrent_cost-SimpleCell-200-*-cpu.json")
        entry = json.loads(record.read_text())
        entry["environment"]["platform"] = platform
        (tmp_path / "one.json").write_text(json.dumps(entry))
        for shown in (tables.page(tmp_path), tables.told(text, tmp_path)):
            assert (sections.NO_GPU in shown) is expected
    assert tables.told(text, tmp_path).startswith("before\n")
    assert tables.told(text, tmp_path).endswith("after\n")
