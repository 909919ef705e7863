"""Grids of runs, each kept as it ends."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optax
import pytest

from optax_ltd.experiments.parts import setup
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.task_table import TASKS
from optax_ltd.experiments.training import sweep as module
from optax_ltd.experiments.training.run import Evaluation, Run
from optax_ltd.experiments.training.sweep import read_sweep, sweep
from optax_ltd.tasks import Task
from tests.experiments.synthetic_runs import QUIET, SyntheticRunner

BASE = {"length": 10, "hidden_size": 4, "seeds": 2}


def read(tmp_path: Path, **values: object) -> dict[str, Config]:
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(values))
    return read_sweep(path)


def test_a_grid_is_every_combination(tmp_path: Path):
    grid = {"method": ["none", "clip-norm"], "length": [10, [10, 20]]}
    configs = read(tmp_path, base=BASE, grid=grid)
    assert {n: (c.method, c.length) for n, c in configs.items()} == {
        "method=none,length=10": ("none", 10),
        "method=none,length=10-20": ("none", (10, 20)),
        "method=clip-norm,length=10": ("clip-norm", 10),
        "method=clip-norm,length=10-20": ("clip-norm", (10, 20)),
    }
    assert all((c.hidden_size, c.seeds) == (4, 2) for c in configs.values())


def test_grids_may_stand_side_by_side(tmp_path: Path):
    configs = read(tmp_path, grid=[{"seeds": [1]}, {"seeds": [2]}, {}])
    assert configs == {
        "seeds=1": Config(seeds=1),
        "seeds=2": Config(seeds=2),
        "base": Config(),
    }


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "base and grid"),
        ({"base": {}}, "base and grid"),
        ({"grid": {}, "speed": 1}, "base and grid"),
        ({"base": [], "grid": {}}, "`base` must"),
        ({"grid": {"seeds": 3}}, "lists of values"),
        ({"grid": 3}, "lists of values"),
        ({"grid": []}, "one run or more"),
        ({"grid": {"seeds": []}}, "one run or more"),
        ({"grid": {"speed": [1]}}, "got `speed`"),
        ({"grid": {"seeds": [0]}}, "`seeds`"),
        ({"grid": {"cell": ["tanh", "mlp"]}}, "`cell`"),
    ],
)
def test_what_cannot_be_swept_is_refused(tmp_path: Path, values: dict, reason: str):
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, **values)


def test_names_of_files_must_tell_runs_apart(tmp_path: Path):
    texts = [tmp_path / "a b", tmp_path / "a_b"]
    for text in texts:
        text.write_text(1000 * "ab")
    grid = {"task": ["text"], "length": [5], "text": list(map(str, texts))}
    with pytest.raises(ValueError, match="got two runs named"):
        read(tmp_path, grid=grid)


def test_runs_are_set_up_once_and_share_their_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By all that reads a sweep, makes its runs and tests them at another length."""
    made, judged, trained = [], [], []
    row = TASKS["text"]

    def make_text(**options: Any) -> Task:
        made.append((options["split"], options["length"]))
        return row.make(**options)

    def optimizer(*_: object) -> optax.GradientTransformation:
        judged.append("optimizer")
        return optax.identity()

    class TestedRunner(SyntheticRunner):
        def test(self, task: Task) -> tuple[np.ndarray, np.ndarray]:
            trained.append((self.setup.config.method, task.length))
            return np.zeros(2), np.zeros(2)

    monkeypatch.setitem(TASKS, "text", row._replace(make=make_text))
    monkeypatch.setattr(setup, "make_optimizer", optimizer)
    monkeypatch.setattr(module, "Runner", TestedRunner)
    text = tmp_path / "text"
    text.write_text(1000 * "ab")
    base = BASE | {"task": "text", "text": str(text), "length": 5, "updates": 2}
    configs = read(tmp_path, base=base, grid={"method": ["none", "clip-norm"]})
    assert (
        len(
            dict(
                sweep(
                    configs,
                    tmp_path / "runs",
                    QUIET,
                    lengths=dict.fromkeys(configs, (7,)),
                )
            )
        )
        == 2
    )
    assert trained == [("none", 7), ("clip-norm", 7)]
    assert made == [("train", 5), ("test", 5), ("test", 7)]
    assert len(judged) == 2


class Training:
    """Stands for `make_run`: a run that is over at once, and sometimes Ctrl-C."""

    def __init__(self, interrupted_at: int | None = None):
        self.trained: list[Config] = []
        self._interrupted_at = interrupted_at

    def __call__(self, config: Config, observer: object, **_: object) -> Run:
        self.trained.append(config)
        if len(self.trained) == self._interrupted_at:
            raise KeyboardInterrupt
        ones = np.ones(config.seeds)
        evaluation = Evaluation(config.updates, ones, ones, ones, ones.astype(int))
        return Run(config, 0.01, [evaluation])


CONFIGS = {f"seeds={n}": Config.from_dict(BASE | {"seeds": n}) for n in (1, 2, 3)}


def make(folder: Path) -> dict[str, Run]:
    return dict(sweep(CONFIGS, folder, QUIET))


def test_it_goes_on_where_it_stopped(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "make_run", stopped := Training(interrupted_at=2))
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert len(stopped.trained) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["seeds=1.json"]
    # What a kill in the middle of writing leaves.
    (tmp_path / "seeds=2.json.new").write_text('{"config": ')

    monkeypatch.setattr(module, "make_run", second := Training())
    runs = make(tmp_path)
    assert second.trained == [CONFIGS["seeds=2"], CONFIGS["seeds=3"]]
    assert {name: run.config for name, run in runs.items()} == CONFIGS
    names = [f"{name}.json" for name in CONFIGS]
    assert sorted(path.name for path in tmp_path.iterdir()) == names

    monkeypatch.setattr(module, "make_run", third := Training())
    assert list(make(tmp_path)) == list(CONFIGS)
    assert not third.trained


def test_what_is_no_record_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "make_run", training := Training())
    for contents in ("{}", '{"config": 3}'):
        (tmp_path / "seeds=2.json").write_text(contents)
        with pytest.raises(ValueError, match=r"seeds=2\.json' must be the record"):
            make(tmp_path)
    assert not training.trained


def test_when_time_is_out_no_run_begins(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "make_run", training := Training())
    assert not dict(sweep(CONFIGS, tmp_path, QUIET, seconds=0.0))
    assert not training.trained
    assert not list(tmp_path.iterdir())


def test_a_record_of_another_config_is_refused(tmp_path: Path, monkeypatch):
    other = dataclasses.replace(CONFIGS["seeds=1"], learning_rate=0.3)
    record = json.dumps(Run(other, 0.01).record())
    (tmp_path / "seeds=1.json").write_text(record)
    monkeypatch.setattr(module, "make_run", training := Training())
    with pytest.raises(ValueError, match="of this config"):
        make(tmp_path)
    assert not training.trained
    assert (tmp_path / "seeds=1.json").read_text() == record


@pytest.mark.parametrize(("beside", "made"), [(1.0, 4), (16.0, 3)])
def test_a_run_is_left_out_when_less_is_left_than_its_compiling_takes(
    beside: float, made: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each run trains for the rest of its part, whatever that is."""

    def make_run(config: Config, *_: object, seconds: float, **__: object) -> Run:
        training = max(0.0, seconds - beside)
        now[0] += beside + training
        return Run(config, 0.01, seconds=training)

    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module, "make_run", make_run)
    configs = {f"{i}": Config(length=10, first_seed=i) for i in range(4)}
    runs = dict(sweep(configs, tmp_path, QUIET, seconds=60.0))
    assert len(runs) == made


def test_a_run_that_went_on_leaves_no_time_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Most of its seconds are those of an earlier day."""

    def make_run(config: Config, *_: object, **__: object) -> Run:
        now[0] += 30.0
        return Run(config, 0.01, seconds=1000.0)

    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module, "make_run", make_run)
    configs = {f"{i}": Config(length=10, first_seed=i) for i in range(4)}
    assert len(dict(sweep(configs, tmp_path, QUIET, seconds=60.0))) == 2
