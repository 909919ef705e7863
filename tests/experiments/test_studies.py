"""What each study runs, and what it makes of the runs."""

import dataclasses
import re

import numpy as np
import pytest

from optax_ltd import plots
from optax_ltd.experiments.parts.config import LARGEST, Config
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.studies import budget, recipe
from optax_ltd.experiments.studies.clip_variants import CLIP_VARIANTS
from optax_ltd.experiments.studies.figure7 import FIGURE7, summary
from optax_ltd.experiments.studies.pathological import (
    NUMBERS,
    PATHOLOGICAL,
    PUBLISHED,
)
from optax_ltd.experiments.studies.published import STUDIES
from optax_ltd.experiments.training.run import Evaluation, Run
from tests.experiments.synthetic_runs import runs_of, synthetic_run


@pytest.mark.parametrize("name", STUDIES)
def test_its_runs_differ_and_have_names_that_files_can_have(name: str):
    configs = STUDIES[name].configs(400)
    assert all(re.fullmatch(r"[\w.+-]+", key) for key in configs)
    assert len(set(configs.values())) == len(configs)
    # All of the budget, or the share of a search or of a method, by what updates cost.
    shares = {
        "recipe": {400, 100},
        "record": {400, 200},
        "predecessors": {2000, 400, 4},
    }
    found = {config.updates for config in configs.values()}
    assert found == shares.get(name, {400})


@pytest.mark.parametrize("name", STUDIES)
def test_its_runs_can_have_as_many_updates_as_the_clock_allows(name: str):
    for text in ("1", "30min"):
        configs = STUDIES[name].configs(STUDIES[name].budget(text).updates)
        assert max(config.updates for config in configs.values()) <= LARGEST


def one_run(config: Config, *errors: list[float]) -> Run:
    """Tests of two seeds, 100 updates apart."""
    zeros = np.zeros(2)
    tests = [
        Evaluation(100 * (i + 1), zeros, zeros, np.array(error), zeros.astype(int))
        for i, error in enumerate(errors)
    ]
    return Run(dataclasses.replace(config, seeds=2), 0.01, tests)


def test_figure_7_tells_how_far_each_method_reached():
    configs = FIGURE7.configs(400)
    solved, half, no = [[0.0, 0.0]], [[0.5, 0.0]], [[0.5, 0.5]]
    runs = {
        name: one_run(configs[name], *errors)
        for name, errors in {
            "20-sigmoid-clip-norm": solved,
            "50-sigmoid-clip-norm": half,
            "100-sigmoid-clip-norm": no,
            "20-sigmoid-flow": half,
            "20-basic_tanh-flow": no,
            "20-sigmoid-none": no,
        }.items()
    }
    told = FIGURE7.finding(runs)
    assert "SGD none, SGD + clip 50, SGD + Ω 20; not run yet: SGD + clip + Ω." in told
    assert "Ω and no clip 1 of 4 at T = 20 solved it here." in told


@pytest.mark.parametrize("name", STUDIES)
def test_what_was_not_run_is_not_told_of(name: str):
    """Of each run alone, as when the time was out after it."""
    study, runs = STUDIES[name], runs_of(name, solved=0)
    for key, run in runs.items():
        told = study.describe({key: run})
        sentences = study.finding({key: run})
        assert not re.search(r"  | [.;:,]|: ?[.;]|\bnan\b", sentences), sentences
        assert f"1 of the {len(runs)} runs have been made." in told
    first = {key: runs[key] for key in [next(iter(runs))]}
    told = study.finding(first)
    if name == "figure7":
        assert "SGD none; not run yet: SGD + clip, SGD + clip + Ω, SGD + Ω." in told
        assert told.endswith("Ω without clipping has not been run here yet.")
    if name == "recipe":
        assert told == "The recipe has not been run on fresh seeds yet."
    if name == "clip-variants":
        assert "with the threshold of those run yet that served" in told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ([1.0, 1.0], "1 s a run,"),
        ([0.2, 1.0], "0.2 to 1 s a run,"),
        ([4.3, 4.4], "4 seconds a run,"),
        ([4.3, 20], "4 to 20 seconds a run,"),
        ([20, 90], "20 seconds to 1.5 minutes a run,"),
        ([120, 120], "2 minutes a run,"),
    ],
)
def test_a_budget_of_time_is_told_in_sensible_units(seconds: list[float], told: str):
    runs = list(runs_of("clip-variants").values())[:2]
    for run, limit in zip(runs, seconds, strict=True):
        run.time_limit = limit
    assert budget.told(runs) == f"{told} and on to its next test: 400 updates"


def test_a_run_that_the_clock_ended_does_not_speak_for_all():
    runs = list(runs_of("clip-variants").values())[:3]
    runs[0].time_limit = 1.0
    runs[0].config = dataclasses.replace(runs[0].config, updates=LARGEST)
    told = "400 updates a run, 1 of 3 ended sooner by the clock"
    assert budget.told(runs) == told
    runs[0].config = runs[1].config  # It made all of its updates in time.
    assert budget.told(runs) == "400 updates a run"


def test_the_pathological_tasks_that_were_not_solved_are_named():
    configs = PATHOLOGICAL.configs(400)
    runs = {
        "xor": one_run(configs["temporal_order-50"], [0.0, 0.0]),
        "addition-100-absolute": one_run(configs["addition-100-absolute"], [0.0, 0.5]),
    }
    assert PATHOLOGICAL.finding(runs) == (
        "All 5 seeds solved 1 of 2 tasks and lengths. Fewer than 5 seeds solved "
        "addition, absolute at T = 100 (1)."
    )


def test_generalisation_counts_the_networks_without_an_error_at_the_end():
    study = STUDIES["generalisation"]
    wrong = [0.0, 0.5, 0.0, 0.0, 0.00005, *5 * [0.5]]
    runs = {
        name: one_run(config, [error, error])
        for (name, config), error in zip(study.configs(400).items(), wrong, strict=True)
    }
    for run in runs.values():
        run.solved_below = 1e-4
        run.reach = {T: [0.0] for T in study.reach["0"]}
    runs["2"].reach |= {200: [0.02], 5000: [0.01]}
    assert study.finding(runs) == (
        "4 of 5 networks came to make no error in a test of 10,000 sequences of 50 to "
        "200 steps, within 100 updates. Tested once more at each length, 3 "
        "made none beyond 200 steps. At the worst length of each 0 to 2 % were wrong "
        "up to 200 steps, and 0 to 1 % beyond. No averaged networks came to make no "
        "error in a test of 10,000 sequences of 50 to 1,000 steps. The paper reports "
        "none at any length for each of its 5."
    )
    assert "No averaged networks have been trained yet." in study.finding(
        {"0": runs["0"]}
    )
    table = study.table(runs)
    assert "| seed 4 | seed 0, averages |" in table
    assert "| wrong at T = 5,000, % | 0 | 0 | 0 | 1 | 0 | 0 | 0 |" in table


def test_the_recipe_tells_what_was_lost_since():
    config = STUDIES["recipe"].configs(400)["100"]
    run = one_run(config, [0.5, 0.0], [0.0, 0.5], [0.0, 0.0], [0.5, 0.0])
    assert STUDIES["recipe"].finding({"100": run}) == (
        "On fresh seeds T = 100 was solved by 2 of 2 within 200 updates, and of the 5 "
        "tests of these seeds since then 3 found it still solved."
    )


@pytest.mark.parametrize("name", STUDIES)
def test_its_page_has_a_row_a_run_or_more_and_its_budget(name: str):
    runs = runs_of(name)
    page = STUDIES[name].describe(runs)
    assert page.startswith(f"## {STUDIES[name].title}\n")
    budgets = {
        "recipe": "100 or 400",
        "predecessors": "4 or 400 or 2,000",
        "record": "200 or 400",
    }
    assert f"Budget: {budgets.get(name, '400')} updates a run. " in page
    assert len(STUDIES[name].figure(runs).axes) >= 1


def test_every_run_of_a_study_can_be_set_up():
    """Of configs alike in their words, one."""
    words = "task", "cell", "init", "method", "criterion", "optimizer"
    configs = {
        tuple(getattr(config, word) for word in words): config
        for study in STUDIES.values()
        for config in study.configs(400).values()
    }
    for config in configs.values():
        make_setup(config)


def test_a_budget_of_time_is_told_in_minutes_beside_what_was_made():
    runs = runs_of("clip-variants")
    for run in runs.values():
        run.time_limit = 600.0
    first = next(iter(runs.values()))
    first.time_limit = 90.0
    first.evaluations[-1] = first.evaluations[-1]._replace(update=1300)
    told = "1.5 to 10 minutes a run, and on to its next test: 400 to 1,300 updates"
    assert f"Budget: {told}. " in CLIP_VARIANTS.describe(runs)


def test_figure_7_has_a_panel_for_each_initialisation_and_a_cell_for_each_run():
    runs = runs_of("figure7", solved=3)
    figure = FIGURE7.figure(runs)
    assert [axes.get_title() for axes in figure.axes] == [
        "sigmoid",
        "basic tanh",
        "smart tanh",
    ]
    del runs["200-sigmoid-none"]
    rows = FIGURE7.table(runs).splitlines()
    lengths = " | ".join(f"T = {length}" for length in (20, 50, 100, 150, 200))
    assert rows[0] == f"| initial weights | method | {lengths} |"
    assert len(rows) == 2 + 3 * 4
    (row,) = (row for row in rows if row.startswith("| sigmoid | SGD |"))
    assert row.count("3 of 5 (15–95 %)") == 4
    assert row.endswith("| not run |")


def test_figure_7_shows_the_share_of_seeds_that_solved_it_at_its_length(
    monkeypatch: pytest.MonkeyPatch,
):
    runs = runs_of("figure7", solved=3)
    changed = synthetic_run(runs["50-sigmoid-none"].config, solved=1)
    runs["50-sigmoid-none"] = changed
    panels = {}
    monkeypatch.setattr(plots, "success_rates", lambda of, label: panels.update(of))
    FIGURE7.figure(runs)
    drawn = {rate.length: rate.share for rate in panels["sigmoid"]["SGD"]}
    assert drawn == {20: 0.6, 50: 0.2, 100: 0.6, 150: 0.6, 200: 0.6}


def test_figure_7_is_summed_up_over_its_initial_weights():
    runs = runs_of("figure7", solved=3)
    for name in [name for name in runs if name.startswith("200-")]:
        del runs[name]
    rows = summary(runs).splitlines()
    assert rows[0] == "| solved | T = 20 | T = 50 | T = 100 | T = 150 | T = 200 |"
    assert rows[2] == "| SGD | 9 of 15 | 9 of 15 | 9 of 15 | 9 of 15 | not run |"


def test_pathological_tasks_are_tested_at_the_length_itself():
    for name, config in PATHOLOGICAL.configs(400).items():
        task, length, *absolute = name.split("-")
        assert config.task == task
        criterion = "squared" if task in NUMBERS else None
        assert config.criterion == (absolute or [criterion])[0]
        assert make_test_task(config).length == int(length) == config.lengths[1]


# As the literature calls them.
NAMES = {
    "temporal_order": "temporal order",
    "temporal_order_3bit": "3-bit temporal order",
    "addition": "addition",
    "multiplication": "multiplication",
    "random_permutation": "random permutation",
    "memorization_5bit": "5-bit memorization",
    "memorization_20bit": "20-bit memorization",
}


def test_pathological_tasks_stand_beside_the_paper_by_both_criteria():
    rows = PATHOLOGICAL.table(runs_of("pathological")).splitlines()
    for task, said in PUBLISHED.items():
        name = NAMES[task]
        titles = [name, f"{name}, absolute"] if task in NUMBERS else [name]
        for title in titles:
            found = [row for row in rows if row.startswith(f"| {title} |")]
            assert len(found) == 2
            assert all(row.endswith(f"| {said} |") for row in found)
    drawn = PATHOLOGICAL.figure(runs_of("pathological")).axes
    assert [axes.get_title() for axes in drawn] == [NAMES[task] for task in PUBLISHED]


def test_language_is_in_bits():
    table = STUDIES["language"].table(runs_of("language"))
    assert "| 1.44 1.44 1.44 | 1.44 (1.44 to 1.44) | – |" in table
    assert "| 1.44 (1.44 to 1.44) | 1.41 |" in table


def test_language_tells_whether_the_lstm_did_better():
    study = STUDIES["language"]
    runs = runs_of("language")
    assert "not so here, at this budget" in study.finding(runs)
    for one in ("tanh-clip-flow", "lstm", "tanh"):
        told = study.finding({one: runs[one]})
        assert told.endswith("than Ω; the two have not both been run here yet.")
    last = runs["lstm"].evaluations[-1]
    runs["lstm"].evaluations[-1] = last._replace(test_loss=last.test_loss / 2)
    assert study.finding(runs).endswith("than Ω; so it is here.")
    assert ": LSTM, SGD 0.72; " in study.finding(runs)


def test_each_row_of_the_search_changes_one_thing_of_the_recipe():
    configs = STUDIES["recipe"].configs(400)
    base = configs["search-recipe"]
    assert set(configs) == {"100", "200", *(f"search-{x}" for x in recipe.SEARCH)}
    for name, (_, changes) in recipe.SEARCH.items():
        changed = dataclasses.replace(base, **changes)
        assert configs[f"search-{name}"] == changed
    confirmed = dataclasses.replace(
        configs["100"], seeds=3, first_seed=100, updates=configs["100"].updates // 4
    )
    assert confirmed == base


def test_the_picture_of_the_recipe_has_a_row_a_run_by_its_label():
    runs = runs_of("recipe", solved=1)
    del runs["200"], runs["search-recipe"]
    (axes,) = recipe.RECIPE.figure(runs).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    searched = [label for label, _ in recipe.SEARCH.values()]
    assert labels == [*searched[1:], "T = 100"]
    solved, unsolved = axes.lines
    assert len(np.asarray(solved.get_xdata())) == len(labels)
    assert len(np.asarray(unsolved.get_xdata())) == 2 * len(searched[1:]) + 4
    only = recipe.RECIPE.figure({"100": runs["100"]}).axes[0]
    assert [text.get_text() for text in only.texts] == ["recipe, fresh seeds"]


def test_each_clip_is_told_with_the_threshold_that_served_it_best():
    runs = runs_of("clip-variants", solved=2)
    for name, solved in {"clip-value-0.01": 3, "carry-clip-0.5": 5}.items():
        runs[name] = synthetic_run(runs[name].config, solved=solved)
    told = CLIP_VARIANTS.finding(runs)
    assert (
        "SGD 2 of 5 after 400 updates (median); SGD + Ω 2 of 5 after 400 updates "
        "(median); SGD + clip by value + Ω (0.01) 3 of 5 after 400" in told
    )
    assert "SGD + clip + Ω (0.1) 2 of 5" in told
    assert "SGD + carry clip + Ω (0.5) 5 of 5" in told


def test_the_picture_of_clips_has_a_row_for_every_threshold():
    runs = runs_of("clip-variants", solved=2)
    (axes,) = CLIP_VARIANTS.figure(runs).axes
    shown = [text.get_text() for text in [*axes.texts, *axes.get_yticklabels()]]
    assert {"no clip", "SGD", "SGD + Ω", "SGD + clip + Ω"} <= set(shown)
    assert sum(shown.count(f"{x:g}") for x in (0.005, 0.01, 0.05, 0.1, 0.5)) == 7
    assert (shown.count("1"), shown.count("10")) == (3, 2)


def test_a_seed_that_no_longer_solves_is_told():
    runs = {"none": runs_of("clip-variants", solved=3)["none"]}
    (run,) = runs.values()
    page = CLIP_VARIANTS.describe(runs)
    assert "| 3 of 5 (15–95 %) | 400 400 400 – – | 0.1 0.1 0.1 50.0 50.0 |" in page
    assert "1 of the 14 runs have been made. Solved: one of the tests, every " in page
    assert "fewer than 1 % of 10,000 fresh sequences wrong" in page
    run.evaluations.append(run.evaluations[0]._replace(update=600))
    assert "| 3 of 5 (15–95 %), 0 at the end |" in CLIP_VARIANTS.describe(runs)
    run.solved_below = 0.0
    assert "Solved:" not in CLIP_VARIANTS.describe(runs)
