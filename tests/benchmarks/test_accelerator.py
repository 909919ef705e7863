"""`make bench-gpu`: what it measures, within its time, and what refuses a CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest

import benchmarks
from benchmarks import accelerator, cases, records, tables
from benchmarks.benchmark import measurements
from benchmarks.recurrent import cost, memory
from benchmarks.recurrent.contestants import torch_layer
from benchmarks.recurrent.settings import ACCELERATOR_LENGTH_SETTINGS, TINY, Setting
from benchmarks.updates import cost as update_cost
from benchmarks.updates import settings as updates
from tests.benchmarks import compilation

GRU = Setting("GRUCell", 6, 3, 4, 2)


class Started:
    """Stands for `subprocess.run`: keeps the commands, and ends as it is told to."""

    def __init__(self, **endings: int | None):
        self.endings = endings
        self.commands: list[list[str]] = []
        self.options: list[dict[str, Any]] = []

    def __call__(self, command: list[str], **options: Any) -> Any:
        self.commands.append(command[2:])
        self.options.append(options)
        ending = self.endings.get(command[2].rpartition(".")[2], 0)
        if ending is None:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, ending)

    @property
    def programs(self) -> list[str]:
        return [command[0].removeprefix("benchmarks.") for command in self.commands]


ALL = ["recurrent.cost", "updates.cost", "recurrent.length", "recurrent.memory"]
PAGES = ["tables", "reproduced"]


def test_the_shares_are_of_eight_minutes():
    assert sum(accelerator.SECONDS.values()) <= accelerator.EIGHT_MINUTES - 10
    assert accelerator.SECONDS.keys() <= measurements(benchmarks).keys()


def test_each_measurement_runs_within_its_share(monkeypatch: pytest.MonkeyPatch):
    started = Started()
    monkeypatch.setattr(subprocess, "run", started)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    assert accelerator.main([]) == 0
    assert started.programs == ALL + PAGES
    shares = accelerator.SECONDS.values()
    for command, options, share in zip(
        started.commands, started.options, shares, strict=False
    ):
        within = str(share - accelerator.STARTING)
        assert command[1:] == ["--accelerator", "--seconds", within]
        assert options["timeout"] == share
        assert options["env"]["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_one_may_be_chosen(monkeypatch: pytest.MonkeyPatch):
    started = Started()
    monkeypatch.setattr(subprocess, "run", started)
    assert accelerator.main(["update_cost"]) == 0
    assert started.programs == ["updates.cost", *PAGES]
    with pytest.raises(SystemExit, match="2"):
        accelerator.main(["kill_and_resume"])


def test_one_that_is_stopped_fails_but_not_the_others(monkeypatch: pytest.MonkeyPatch):
    started = Started(length=None)
    monkeypatch.setattr(subprocess, "run", started)
    assert accelerator.main([]) == 1
    assert started.programs == ALL + PAGES


def test_what_the_first_refuses_is_not_tried_again(monkeypatch: pytest.MonkeyPatch):
    started = Started(cost=accelerator.REFUSED)
    monkeypatch.setattr(subprocess, "run", started)
    assert accelerator.main([]) == accelerator.REFUSED
    assert started.programs == ["recurrent.cost"]


def _asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> cases.Command:
    monkeypatch.setattr(sys, "argv", ["program", *words])
    return cases.command(cases.parser(None), ["usual"], ["large"], ["tiny"])


def test_a_cpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(SystemExit, match=str(accelerator.REFUSED)):
        _asked(monkeypatch, "--accelerator")
    assert cases.NO_ACCELERATOR in capsys.readouterr().err
    assert _asked(monkeypatch).settings == ["usual"]
    tiny = _asked(monkeypatch, "--tiny", "there")
    assert (tiny.settings, tiny.folder) == (["tiny"], Path("there"))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert _asked(monkeypatch, "--accelerator").settings == ["large"]


def test_nothing_is_begun_that_there_is_no_time_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = [0.0]
    monkeypatch.setattr(cases.time, "monotonic", lambda: now[0])
    asked = _asked(monkeypatch, "--seconds", "25")
    made = []
    for setting in asked._replace(settings="abcd").in_time():
        made.append(setting)
        now[0] += 10
    assert made == ["a", "b"]
    assert capsys.readouterr().out == "no time is left for c, d\n"


def test_a_setting_too_large_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    made = []

    def run(setting: str, rounds: int) -> dict[str, Any]:
        if setting == "a":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return {"setting": setting, "rounds": rounds}

    monkeypatch.setattr(records, "write_and_show", lambda *it: made.append(it))
    monkeypatch.setattr(sys, "argv", ["program", "--tiny", "there"])
    with pytest.raises(SystemExit, match="1"):
        cases.measure_each("", run, rounds=9, about=None, tiny="ab")
    assert made == [({"setting": "b", "rounds": 2}, Path("there"))]
    assert "a was left out: RESOURCE_EXHAUSTED" in capsys.readouterr().out


def test_an_accelerator_has_the_sizes_that_matter_there():
    sizes = {(s.millions, s.leaves) for s in updates.ACCELERATOR_SETTINGS}
    assert sizes == {(m, n) for m in (100, 400) for n in (40, 400)}
    assert updates.ACCELERATOR_SETTINGS[-1].leaves == 400, "the dearest is the last"
    assert {s.time for s in ACCELERATOR_LENGTH_SETTINGS} == {100, 1000, 10000}


def test_fewer_compete_where_compiling_is_dear():
    many = updates.Setting("sgd", "finite", 100, 400, "float32")
    assert updates.contestants(many, "gpu") == updates.FEW
    assert updates.contestants(many) == updates.MAIN
    assert updates.contestants(many._replace(leaves=40), "gpu") == updates.MAIN


def test_a_peer_that_cannot_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch):
    def cannot() -> Any:
        raise TypeError("not with this cell\nfor a reason")

    there = {"one": lambda: (lambda carry, x: carry, 1.0), "other": cannot}
    monkeypatch.setattr(cost, "training_steps", lambda setting: there)
    monkeypatch.setattr(torch_layer, "contestant", lambda *_: {})
    ready, failed = cost.contestants(TINY)
    assert list(ready) == ["one"]
    assert failed == {"other": "TypeError: not with this cell"}


def test_cudnn_by_pytorch_ends_when_the_gpu_does(monkeypatch: pytest.MonkeyPatch):
    torch = mock.MagicMock()
    torch.nn.GRU.return_value.to.return_value.return_value = mock.MagicMock(), None
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x = np.zeros((3, 6, 2), np.float32)
    made = torch_layer.contestant(GRU, x, 0.1)
    (step,) = [made["torch.nn.GRU, cuDNN"].step]
    assert step("carry") == "carry"
    torch.nn.GRU.assert_called_once_with(2, 4, batch_first=True)
    torch.nn.GRU.return_value.to.assert_called_once_with("cuda")
    torch.cuda.synchronize.assert_called_once_with()
    torch.cuda.is_available.return_value = False
    assert torch_layer.contestant(GRU, x, 0.1) == {}


@pytest.mark.slow
def test_tiny_records_are_told_as_those_of_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(updates, "MAIN", updates.FEW)
    with compilation.quick():
        made = [
            memory.run(TINY, only_compiled=True),
            update_cost.run(updates.TINY, cases.TINY_ROUNDS),
        ]
    for entry in made:
        entry["environment"]["platform"] = "gpu"
        records.write(entry, tmp_path)
    page = tables.page(tmp_path)
    assert "| SimpleCell, T = 6, B = 3, H = 4, 2 inputs, on gpu, compiled |" in page
    assert "### adam, 1 M float32 in 4 leaves, on gpu" in page
    assert {path.stem.rpartition("-")[2] for path in tmp_path.iterdir()} == {"gpu"}


@pytest.mark.slow
def test_the_command_runs_without_an_accelerator_where_all_is_tiny(tmp_path: Path):
    assert accelerator.main(["--tiny", str(tmp_path)]) == 0
    found = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert {entry["benchmark"] for entry in found} == accelerator.SECONDS.keys()
    page = tables.page(tmp_path)
    assert "`nnx.RNN, unroll=16`" in page
    assert "`nnx.RNN, bfloat16` cannot do this: `TypeError: scan body" in page
