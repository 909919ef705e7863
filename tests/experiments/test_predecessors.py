"""The study of the chapter's older answers."""

import re
from typing import Any

import numpy as np
import pytest

from optax_ltd.experiments.studies.predecessors import ways
from optax_ltd.experiments.studies.predecessors.side_by_side import side_by_side
from optax_ltd.experiments.studies.predecessors.study import PREDECESSORS
from optax_ltd.experiments.studies.predecessors.table_5 import COLUMNS, PUBLISHED
from optax_ltd.experiments.studies.predecessors.verdicts import (
    CLAIMS,
    _answer,
    _made_by_all,
    verdicts,
)
from optax_ltd.experiments.studies.predecessors.ways import CLIP, LSTM, NESTEROV
from optax_ltd.experiments.training.run import Run
from tests.experiments.synthetic_runs import synthetic_run

CONFIGS = PREDECESSORS.configs(400)


def runs_of(**solved: int) -> dict[str, Run]:
    """Of each way that is named, every run, of which so many seeds solved the task."""
    return {
        name: synthetic_run(config, solved=solved[name.split("-", 2)[2]])
        for name, config in CONFIGS.items()
        if name.split("-", 2)[2] in solved
    }


def test_each_way_runs_every_task_by_the_strict_criterion():
    problems = [(task, n) for task, of in ways.LENGTHS.items() for n in of]
    assert len(CONFIGS) == len(problems) * len(ways.WAYS) + len(ways.PUBLISHED_LENGTHS)
    for name, config in CONFIGS.items():
        task, length, way = name.split("-", 2)
        assert (config.task, config.length) == (task, int(length))
        assert ways.way_of(name) == ways.WAYS[way]
        strict = config.criterion == "absolute"
        assert strict == (task in ("addition", "multiplication"))


@pytest.mark.parametrize(
    ("problem", "input_scale", "momentum", "learning_rate"),
    [
        ("addition-80", 0.001, 0.995, 3e-6),
        ("memorization_20bit-80", 0.1, 0.995, 1e-4),
        ("temporal_order-100", 0.001, 0.98, 3e-6),
    ],
)
def test_nesterov_has_the_recipe_of_the_paper_at_small_rates(
    problem: str, input_scale: float, momentum: float, learning_rate: float
):
    config = CONFIGS[f"{problem}-nesterov"]
    assert (config.input_scale, config.init) == (input_scale, "sparse")
    assert (config.optimizer, config.momentum) == ("nesterov", momentum)
    assert config.learning_rate == learning_rate
    assert config.momentum_schedule == "hold"
    assert config.centred
    assert (config.batch_size, config.updates) == (100, 5 * 400)


def test_each_way_has_its_share_of_the_updates():
    way: Any = CLIP._replace(share=0.01)
    assert ways._config(way, "xor", 50, 400).updates == 4
    assert ways._config(way, "xor", 50, 20).updates == 1
    assert ways._config(NESTEROV, "xor", 50, 20).updates == 100


def test_verdicts_compare_what_both_have_run():
    runs = runs_of(nesterov=3, lstm=5)
    for name in list(runs):
        if name.startswith("addition") and name.endswith("lstm"):
            del runs[name]
    made = _made_by_all([LSTM, NESTEROV], runs)
    assert [[run.num_solved for run in of] for of in made] == [[5] * 6, [3] * 6]
    assert {run.config.task for of in made for run in of} == {
        *ways.LENGTHS.keys() - {"addition"}
    }
    assert _made_by_all([LSTM, CLIP], runs) == [[], []]


@pytest.mark.parametrize(
    ("structural", "plain", "nesterov", "lstm", "answers"),
    [
        (5, 0, 5, 5, ["yes", "yes", "yes", "undecided"]),
        (0, 5, 1, 5, ["no", "no", "yes", "yes"]),
        (4, 4, 3, 5, ["undecided", "undecided", "undecided", "yes"]),
        (5, 4, 4, 5, ["undecided", "undecided", "no", "undecided"]),
        (2, 2, 5, 4, ["undecided", "undecided", "yes", "no"]),  # Better than one.
        (0, 0, 0, 0, ["undecided", "undecided", "undecided", "undecided"]),
    ],
)
def test_each_sentence_of_the_chapter_gets_a_verdict(
    structural: int, plain: int, nesterov: int, lstm: int, answers: list[str]
):
    solved = {
        "structural": structural,
        "hessian-free": plain,
        "nesterov": nesterov,
        "lstm": lstm,
    }
    told = verdicts(runs_of(**solved))
    assert re.findall(r"\*: (\w+) \(", told) == answers
    # All but xor and 5-bit strings over 50 steps; then strings over 100 and 200.
    for problems, minutes in ((5, 0.0833), (2, 0.0333)):
        assert (
            f" (of {5 * problems} networks on {problems} problems: Hessian-free, "
            f"structural damping {problems * structural} in {minutes} min, "
            f"Hessian-free {problems * plain} in {minutes} min; p"
        ) in told
    assert verdicts(runs_of(lstm=1)).count("not run yet") == 4


@pytest.mark.parametrize(
    ("structural", "plain", "answer"),
    [(2, 0, "undecided"), (0, 2, "undecided"), (3, 0, "yes"), (0, 3, "no")],
)
def test_where_chance_may_have_made_a_difference_no_verdict_is_given(
    structural: int, plain: int, answer: str
):
    """4 of 10 against none has a p of .087, and 6 of 10 one of .011."""
    solved = {"structural": structural, "hessian-free": plain}
    told = verdicts(runs_of(**solved))
    assert f"for memorization beyond lag 50*: {answer} (of 10" in told


def test_near_is_nine_of_ten():
    (near,) = (claim for claim in CLAIMS if claim.near)
    assert "Nesterov comes near Hessian-free" in near.told
    assert _answer(near, [9, 10], 1.0) == "yes"
    assert _answer(near, [89, 100], 0.04) == "no"
    assert _answer(near, [89, 100], 0.06) == "undecided"


def test_the_picture_has_what_was_tested_at_the_length_of_each_task():
    runs = runs_of(clip=2, growing=5, nesterov=0)
    unfinished = runs["addition-100-growing"]
    unfinished.evaluations = [x._replace(stage=1) for x in unfinished.evaluations]
    figure = PREDECESSORS.figure(runs)
    titles = [ways.title(task, n) for task, of in ways.LENGTHS.items() for n in of]
    assert [axes.get_title() for axes in figure.axes] == titles
    drawn = [set(axes.get_legend_handles_labels()[1]) for axes in figure.axes]
    most = {ways.CLIP.label, ways.GROWING.label, ways.NESTEROV.label}
    assert drawn == [most - {ways.GROWING.label}, *[most] * 6]
    # A second for all updates, the last of which was the test.
    (last,) = (x for x in figure.axes[0].lines if x.get_label() == ways.CLIP.label)
    np.testing.assert_allclose(np.asarray(last.get_xdata())[-1], 1 / 60)


def test_ways_stand_side_by_side():
    rows = side_by_side(runs_of(nesterov=4, lstm=5)).splitlines()
    assert len(rows) == 2 + sum(map(len, ways.LENGTHS.values()))
    expected = dict.fromkeys(ways.WAYS, "not run") | {
        "nesterov": "4 of 5 (0.0167 min)",
        "lstm": "5 of 5 (0.0167 min)",
    }
    assert _cells(rows[2]) == ["addition, T = 100", *expected.values()]


def test_seeds_that_lost_a_task_are_told_of_side_by_side():
    runs = runs_of(lstm=5)
    run = runs["addition-100-lstm"]
    errors = np.array([0.0, 0.0, 0.0, 0.5, 0.5])
    run.evaluations.append(run.evaluations[-1]._replace(update=600, error=errors))
    told = _cells(side_by_side(runs).splitlines()[2])[-1]
    assert told == "5 of 5, 3 at the end (0.0167 min)"


def test_numbers_stand_by_both_criteria_and_strings_with_their_wrong_symbols():
    runs = runs_of(clip=2)
    run = runs["addition-100-clip"]
    last = run.evaluations[-1]
    loose = {"squared": np.array([0.0, 0.0, 0.5, 0.5, 0.5])}
    run.evaluations[-1] = last._replace(measures=loose)
    # In any test, as by the other criterion.
    before = last._replace(measures={"squared": np.array([0.5] * 4 + [0.0])})
    run.evaluations.insert(0, before)
    table = PREDECESSORS.table(runs)
    (row,) = (x for x in table.splitlines() if x.startswith("| addition | 100 |"))
    assert "| 400 | 8,000 | 0.0167 | 2 of 5 " in row
    assert row.endswith("| 3 of 5 solved by the code's criterion |")
    start = "| 5-bit memorization | 200 | SGD + clip |"
    (row,) = (x for x in table.splitlines() if x.startswith(start))
    assert row.endswith("| symbols: 0.00 0.00 1.00 1.00 1.00 |")


def test_what_was_tested_at_shorter_lengths_says_so():
    """All tables: how many solved, what was wrong, and the same beside table 5."""
    runs = runs_of(growing=5)
    run = runs["multiplication-80-growing"]
    run.evaluations = [test._replace(stage=1) for test in run.evaluations]
    counts, all_runs, _, beside = PREDECESSORS.table(runs).split("\n\n")
    start = "| multiplication, T = 80 |"
    (row,) = (x for x in counts.splitlines() if x.startswith(start))
    assert "| 0 of 5 at T = 20 (0.0167 min) |" in row
    (row,) = (x for x in all_runs.splitlines() if x.startswith("| multiplication |"))
    assert row.endswith("| – – – – – | 0.1 0.1 0.1 0.1 0.1 at T = 20 | – |")
    (row,) = (x for x in beside.splitlines() if x.startswith("| SGD + clip + Ω, gro"))
    assert "| 0.001 at T = 20 |" in row
    solved = PREDECESSORS.table(runs_of(growing=5))
    assert "at T =" not in solved


def test_tests_of_shorter_sequences_solve_nothing_by_the_other_criterion():
    runs = runs_of(growing=5)
    run = runs["addition-100-growing"]
    run.evaluations[0] = run.evaluations[0]._replace(
        measures={"squared": np.zeros(5)}, stage=0
    )
    last = run.evaluations[-1]
    run.evaluations[-1] = last._replace(measures={"squared": np.full(5, 0.5)})
    table = PREDECESSORS.table(runs)
    (row,) = (x for x in table.splitlines() if x.startswith("| addition | 100 |"))
    assert row.endswith("| 0 of 5 solved by the code's criterion |")


def test_table_5_stands_beside_the_same_measures_of_the_runs():
    assert {len(values) for values in PUBLISHED.values()} == {len(COLUMNS)}
    lengths = [*ways.LENGTHS.items(), *ways.PUBLISHED_LENGTHS.items()]
    assert set(PUBLISHED) <= {(task, n) for task, of in lengths for n in of}
    table = PREDECESSORS.table(runs_of(nesterov=4))
    heads, _, *lines = table.split("\n\n")[3].splitlines()
    assert heads == (
        "|  | addition, T = 80 | multiplication, T = 80 | 5-bit memorization, T = 200 "
        "| 20-bit memorization, T = 80 |"
    )
    rows = {cells[0]: cells[1:] for cells in (_cells(line) for line in lines)}
    assert [*rows] == [
        *(f"{column}, published" for column in COLUMNS),
        *(f"{way.label}, here" for way in ways.WAYS.values()),
    ]
    assert rows[".995N, published"] == ["0.00025", "0.0013", "0.63", "5e-05"]
    # Errors of four seeds are .001, that of the fifth .5; symbols 0 and 1.
    assert rows[f"{NESTEROV.label}, here"] == ["0.1", "0.1", "0.2", "0.2"]
    # No other way is asked for at the lengths of the first and the last.
    assert rows[f"{LSTM.label}, here"] == ["–", "not run", "not run", "–"]


def test_claims_stand_beside_what_was_wrong_here():
    runs = runs_of(structural=4)
    runs["xor-50-hessian-free"] = runs["xor-50-structural"]
    table = PREDECESSORS.table(runs).split("\n\n")[2].splitlines()
    rows = {cells[0]: cells[1:] for cells in (_cells(line) for line in table[2:])}
    wrong = "0.1 0.1 0.1 0.1 50.0"
    assert rows["xor, T = 50"] == ["below 1 %", wrong, "–", wrong]
    assert rows["5-bit memorization, T = 50"][2:] == ["–", "not run"]
    assert rows["5-bit memorization, T = 200"][2:] == ["not learned", "not run"]
    assert len(PREDECESSORS.table(runs_of(lstm=1)).split("\n\n")[2].splitlines()) == 2


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_an_average_with_a_seed_whose_loss_is_no_number_is_none():
    runs = runs_of(nesterov=4)
    for name in "addition-80-nesterov", "memorization_20bit-80-nesterov":
        last = runs[name].evaluations[-1]
        loss = np.array([1.0, np.nan, 1.0, 1.0, 1.0])
        runs[name].evaluations[-1] = last._replace(test_loss=loss)
    _, every_run, _, averages = PREDECESSORS.table(runs).split("\n\n")
    assert f"| {NESTEROV.label}, here | NaN | 0.1 | 0.2 | NaN |" in averages
    assert re.search(r"symbols: \S+ NaN \S+ \S+ \S+ \|", every_run)
