"""The page of reproduced results says what the records beside it say."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import reproduced
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.studies.published import RESULTS, STUDIES
from optax_ltd.experiments.training.run import Run

SEQUENCES = 20_000


def test_the_page_is_what_the_records_give():
    text = reproduced.PAGE.read_text()
    assert text == reproduced.page(), "run `python -m benchmarks.reproduced`"


def test_each_picture_is_there_and_told_in_a_sentence():
    pictures = re.findall(r"!\[(.*)\]\((.*)\)", reproduced.page())
    assert [alt for alt, _ in pictures if not re.fullmatch(r"[A-Z].{20,}\.", alt)] == []
    paths = sorted(reproduced.FOLDER / path for _, path in pictures)
    assert paths == sorted(reproduced.FOLDER.glob("*/*.png"))


def test_a_result_without_records_is_not_run_yet(tmp_path: Path):
    text = reproduced.page(tmp_path)
    assert text.count("Not run yet.") == len(RESULTS)
    assert all(f"## {result.title}\n" in text for result in RESULTS.values())


def test_each_record_is_of_a_run_that_its_study_has():
    for name, study in STUDIES.items():
        for path in (reproduced.FOLDER / name).glob("*.json"):
            # An older record lacks the fields that have come since.
            config = Config.from_dict(json.loads(path.read_text())["config"])
            asked = study.configs(1)[path.stem]
            assert dataclasses.replace(config, updates=asked.updates) == asked


def test_what_the_record_took_is_told_before_it_begins():
    runs = STUDIES["record"].runs(reproduced.FOLDER / "record")
    assert runs.keys() == STUDIES["record"].configs(1).keys()
    (told,) = re.findall(r"(\d+) minutes", STUDIES["record"].took)
    assert round(sum(run.seconds for run in runs.values()) / 60) == int(told)


def test_the_page_of_the_older_answers_says_what_the_records_say():
    text = reproduced.OLDER_ANSWERS.read_text()
    assert text == reproduced.guide(text), "run `python -m benchmarks.reproduced`"


def test_the_page_of_the_older_answers_waits_for_records(tmp_path: Path):
    text = reproduced.OLDER_ANSWERS.read_text()
    assert reproduced.guide(text, tmp_path).count("\nNothing yet.\n") == 2


def test_the_notebook_of_the_older_answers_says_the_same(tmp_path: Path):
    text = reproduced.NOTEBOOK.read_text()
    assert text == reproduced.notebook(text), "run `python -m benchmarks.reproduced`"
    assert "Nothing yet." in reproduced.notebook(text, tmp_path)


def test_the_readme_says_what_the_records_say():
    text = reproduced.README.read_text()
    assert text == reproduced.readme(text), "run `python -m benchmarks.reproduced`"


def test_the_readme_waits_for_records(tmp_path: Path):
    told = reproduced.readme(reproduced.README.read_text(), tmp_path)
    assert "| SGD + clip + Ω | not run |" in told


def _linear_loss(run: Run) -> float:
    """That of the best linear function of the inputs, counted from the last step."""
    task = make_test_task(run.config)
    batch = task.sample(jax.random.key(0), SEQUENCES)
    inputs, lengths = (np.asarray(x) for x in (batch.inputs, batch.lengths))
    targets = np.asarray(batch.targets, float).reshape(SEQUENCES)
    steps = np.arange(-inputs.shape[1], 0) + lengths[:, None]
    aligned = np.where(
        steps[..., None] >= 0, inputs[np.arange(SEQUENCES)[:, None], steps], 0
    )
    columns = np.column_stack([aligned.reshape(SEQUENCES, -1), np.ones(SEQUENCES)])
    learn, test = slice(None, SEQUENCES // 2), slice(SEQUENCES // 2, None)
    weights = np.linalg.lstsq(columns[learn], targets[learn])[0]
    return float(np.mean((columns[test] @ weights - targets[test]) ** 2))


@pytest.mark.parametrize(
    ("problem", "learned"),
    [("addition-80", 1), ("multiplication-80", 1), ("addition-100", 0)],
)
def test_what_nesterov_did_not_learn_is_no_better_than_linear(
    problem: str, learned: int
):
    """As the guide says of numbers."""
    runs = STUDIES["predecessors"].runs(reproduced.FOLDER / "predecessors")
    run = runs[f"{problem}-nesterov"]
    losses, linear = run.evaluations[-1].test_loss, _linear_loss(run)
    assert (losses[:learned] < 0.2 * linear).all()
    # A loss of the test's 10,000 sequences is known to some 2 %.
    assert (losses[learned:] > 0.95 * linear).all()
