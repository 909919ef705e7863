"""What each study runs, and what it makes of the runs."""

import dataclasses
import re

import pytest

from optax_ltd.experiments.problem import make_test_task
from optax_ltd.experiments.reproduce import page_of
from optax_ltd.experiments.setup import make_setup
from optax_ltd.experiments.studies import STUDIES, recipe
from optax_ltd.experiments.studies.clip_variants import CLIP_VARIANTS
from optax_ltd.experiments.studies.figure7 import FIGURE7
from optax_ltd.experiments.studies.pathological import (
    NUMBERS,
    PATHOLOGICAL,
    PUBLISHED,
)
from tests.experiments.synthetic_runs import synthetic_run


def runs_of(name: str, *, solved: int = 2):
    study = STUDIES[name]
    runs = {
        key: synthetic_run(config, solved=solved)
        for key, config in study.configs(400).items()
    }
    for run in runs.values():
        run.reach = {length: [0.25] * run.config.seeds for length in study.reach}
    return runs


@pytest.mark.parametrize("name", STUDIES)
def test_its_runs_differ_and_have_names_that_files_can_have(name: str):
    configs = STUDIES[name].configs(400)
    assert all(re.fullmatch(r"[\w.+-]+", key) for key in configs)
    assert len(set(configs.values())) == len(configs)
    assert {config.updates for config in configs.values()} <= {400, 100}


@pytest.mark.parametrize("name", STUDIES)
def test_its_page_has_a_row_a_run_or_more_and_its_budget(name: str):
    runs = runs_of(name)
    page = page_of(name, runs)
    assert page.startswith(f"## {STUDIES[name].title}\n")
    budget = "100 or 400" if name == "recipe" else "400"
    assert f"Budget: {budget} updates a run. " in page
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
    told = "Budget: 1.5 to 10 minutes a run, in which they made 400 to 1,300 updates. "
    assert told in page_of("clip-variants", runs)


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


def test_pathological_tasks_are_tested_at_the_length_itself():
    for name, config in PATHOLOGICAL.configs(400).items():
        task, length, *absolute = name.split("-")
        assert config.task == task
        criterion = "squared" if task in NUMBERS else None
        assert config.criterion == (absolute or [criterion])[0]
        assert make_test_task(config).length == int(length) == config.lengths[1]


def test_pathological_tasks_stand_beside_the_paper_by_both_criteria():
    rows = PATHOLOGICAL.table(runs_of("pathological")).splitlines()
    for task, said in PUBLISHED.items():
        name = task.replace("_", " ")
        titles = [name, f"{name}, absolute"] if task in NUMBERS else [name]
        for title in titles:
            found = [row for row in rows if row.startswith(f"| {title} |")]
            assert len(found) == 2
            assert all(row.endswith(f"| {said} |") for row in found)
    drawn = PATHOLOGICAL.figure(runs_of("pathological")).axes
    assert [axes.get_title() for axes in drawn] == [
        t.replace("_", " ") for t in PUBLISHED
    ]


def test_generalisation_shows_each_length_beside_the_paper():
    table = STUDIES["generalisation"].table(runs_of("generalisation"))
    assert "| 5,000 | 0 | 25 25 25 25 25 |" in table


def test_language_is_in_bits():
    table = STUDIES["language"].table(runs_of("language"))
    assert "| LSTM, SGD | 0.5 | 400 | 2.89 (2.89–2.89) | 1.44 (1.44–1.44) |" in table


def test_each_row_of_the_search_changes_one_thing_of_the_recipe():
    configs = STUDIES["recipe"].configs(400)
    base = configs["search-recipe"]
    assert set(configs) == {"100", "200", *(f"search-{x}" for x in recipe.SEARCH)}
    for name, changes in recipe.SEARCH.items():
        changed = dataclasses.replace(base, **changes)
        assert configs[f"search-{name}"] == changed
    confirmed = dataclasses.replace(
        configs["100"], seeds=3, first_seed=100, updates=configs["100"].updates // 4
    )
    assert confirmed == base


def test_the_picture_of_clips_has_the_fastest_threshold_of_each():
    runs = runs_of("clip-variants", solved=2)
    for name, solved in {"clip-value-0.01": 3, "carry-clip-0.5": 5}.items():
        runs[name] = synthetic_run(runs[name].config, solved=solved)
    shown = {text.get_text() for text in CLIP_VARIANTS.figure(runs).axes[0].texts}
    assert shown >= {
        "SGD",
        "SGD + Ω",
        "SGD + clip by value + Ω (0.01)",
        "SGD + clip + Ω (0.1)",
        "SGD + carry clip + Ω (0.5)",
    }


def test_a_seed_that_no_longer_solves_is_told():
    runs = {"none": runs_of("clip-variants", solved=3)["none"]}
    (run,) = runs.values()
    page = page_of("clip-variants", runs)
    assert "| 3 of 5 (15–95 %) | 400 400 400 – – | 0.1 0.1 0.1 50.0 50.0 |" in page
    assert "So far 1 of 14 runs. A seed has solved the task when a test first " in page
    assert "fewer than 1 % of 10,000 fresh sequences wrong" in page
    run.evaluations.append(run.evaluations[0]._replace(update=600))
    assert "| 3 of 5 (15–95 %), 0 at the end |" in page_of("clip-variants", runs)
    run.solved_below = 0.0
    assert "has solved" not in page_of("clip-variants", runs)
