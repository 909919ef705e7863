"""The command that makes published results again, on results of no size."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies.budget import Budget, parse_budget
from optax_ltd.experiments.studies.clip_variants import CLIP_VARIANTS
from optax_ltd.experiments.studies.published import RESULTS, reproduce
from optax_ltd.experiments.studies.study import Study
from optax_ltd.experiments.terminal.progress import Bars
from optax_ltd.experiments.training import runner as module
from optax_ltd.experiments.training import sweep
from optax_ltd.experiments.training.run import Run
from tests.experiments.synthetic_runs import QUIET, SyntheticRunner, synthetic_run

NO_LIMIT = parse_budget("1min").updates


def _configs(updates: int) -> dict[str, Config]:
    return {
        method: Config(
            method=method,
            length=10,
            updates=updates,
            test_every=2,
            test_size=10,
            hidden_size=3,
            seeds=2,
            learning_rate=1e-6,
        )
        for method in ("none", "clip-norm")
    }


TINY = Study(
    title="Tiny",
    configs=_configs,
    figure=CLIP_VARIANTS.figure,
    alt="Tiny.",
    finding=CLIP_VARIANTS.finding,
    table=CLIP_VARIANTS.table,
    remarks="Nothing.",
    reach={"none": (10, 20)},
)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RESULTS, "tiny", TINY)


@pytest.mark.slow
def test_it_writes_records_picture_and_table_and_makes_no_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = synthetic_run(_configs(4)["clip-norm"], solved=0)
    (tmp_path / "clip-norm.json").write_text(json.dumps(kept.record()))
    table = reproduce("tiny", tmp_path, Budget(4), QUIET)
    written = ["clip-norm.json", "none.json", "tiny.md", "tiny.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == written
    assert (tmp_path / "tiny.md").read_text() == table
    assert "Budget: 4 updates a run" in table
    record = json.loads((tmp_path / "none.json").read_text())
    assert record["config"]["method"] == "none"
    assert [e["update"] for e in record["evaluations"]] == [2, 4]
    assert set(record["reach"]) == {"10", "20"}
    # Errors, that is whole numbers of the 10 sequences.
    wrong = 10 * np.array(list(record["reach"].values()))
    np.testing.assert_allclose(wrong, wrong.round())
    assert wrong.max() <= 10
    assert record["environment"]["packages"]["jax"]

    def make_run(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(sweep, "make_run", make_run)
    assert reproduce("tiny", tmp_path, Budget(4), QUIET) == table
    with pytest.raises(ValueError, match=r"none\.json' must be of this config"):
        reproduce("tiny", tmp_path, Budget(6), QUIET)


def new_runner(updates: int, time_limit: float) -> SyntheticRunner:
    setup = SimpleNamespace(config=Config(updates=updates))
    return SyntheticRunner(setup, time_limit=time_limit)


@pytest.mark.parametrize(("seconds", "updates"), [(0, 2), (-1, 2), (math.inf, 6)])
def test_the_test_reached_when_time_is_out_is_the_last(seconds: float, updates: int):
    runner = new_runner(6 if seconds == math.inf else NO_LIMIT, seconds)
    runner.train()
    assert runner.run.update == updates


@pytest.mark.parametrize(
    ("updates", "time_limit", "share"),
    [(8, math.inf, 0.25), (NO_LIMIT, 40.0, 0.75), (4, 300.0, 0.5), (8, 29.0, 1)],
)
def test_a_bar_shows_the_budget_that_is_spent_first(
    updates: int, time_limit: float, share: float, monkeypatch: pytest.MonkeyPatch
):
    runner = new_runner(updates, time_limit)
    clock = SimpleNamespace(monotonic=lambda: runner._began + 30)
    monkeypatch.setattr(module, "time", clock)
    with Bars(Console(quiet=True), ["patient"]) as bars:
        (task,) = bars._progress.tasks
        bars.show(0, runner)
        assert task.fields["status"] == "compiling"
        runner.advance()
        bars.show(0, runner)
    assert task.completed == pytest.approx(share)
    assert task.total == 1
    assert task.fields["status"].startswith("loss 2.000  error 50.0%")
    assert (task.stop_time is not None) == (share == 1)


def test_a_budget_of_time_is_shared_by_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given = []

    def make_run(config: Config, _: object, *, seconds: float, **__: object) -> Run:
        given.append(seconds)
        return synthetic_run(config, solved=0)

    monkeypatch.setattr(sweep, "make_run", make_run)
    reproduce("tiny", tmp_path, Budget(NO_LIMIT, seconds=600.0), QUIET)
    first, second = given
    assert 290 < first <= 300
    assert 590 < second <= 600  # the first took nothing of it


@pytest.mark.parametrize(
    ("text", "budget"),
    [("200", Budget(200)), ("3min", Budget(NO_LIMIT, 180.0))],
)
def test_a_budget_is_updates_or_minutes(text: str, budget: Budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "0", "-5", "3 min", "3h", "1.5min", "1e4"])
def test_another_budget_is_refused(text: str):
    with pytest.raises(ValueError, match=f"`budget` must be updates .* got {text!r}"):
        parse_budget(text)
