"""The command that makes published results again, on each of them made small."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import generalisation
from optax_ltd.experiments.studies.cliff import descents
from optax_ltd.experiments.studies.published import RESULTS, STUDIES
from optax_ltd.experiments.training import sweep
from optax_ltd.experiments.training.run import Run
from tests.cli.calls import CONFIG, invoke, words_of
from tests.experiments.synthetic_runs import synthetic_run
from tests.slow import slow_but

LENGTHS = (10, 300)  # One trained on, one longer.


@pytest.fixture
def _small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves of a study its first run, and little of that."""
    if name == "cliff":
        sizes = {"_PIXELS": 11, "_STARTS": 2, "UPDATES": 3}
        for size, value in sizes.items():
            monkeypatch.setattr(descents, size, value)
        return
    study = STUDIES[name]

    def configs(updates: int) -> dict[str, Config]:
        first, config = next(iter(study.configs(updates).items()))
        sizes = {"hidden_size": 3, "batch_size": 2, "test_size": 10, "seeds": 2}
        return {first: dataclasses.replace(config, **sizes)}

    monkeypatch.setattr(generalisation, "LENGTHS", LENGTHS)
    reach = dict.fromkeys(study.reach, LENGTHS)
    small = dataclasses.replace(study, configs=configs, reach=reach)
    monkeypatch.setitem(RESULTS, name, small)


def make_run(config: Config, *_: object, lengths: Sequence[int], **__: object) -> Run:
    """In place of training, for which one result stands."""
    run = synthetic_run(config, solved=1, updates=config.updates)
    run.reach = {length: config.seeds * [0.5] for length in lengths}
    return run


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("name", slow_but({*RESULTS} - {"cliff", "language"}, RESULTS))
def test_it_makes_a_picture_a_table_and_records(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if name != "language":
        monkeypatch.setattr(sweep, "make_run", make_run)
    budget = () if name == "cliff" else ("--budget", 4)
    result = invoke("reproduce", name, "--output", tmp_path, *budget)
    assert result.exit_code == 0, result.output
    first = next(iter(STUDIES[name].configs(4))) if name in STUDIES else name
    written = {f"{name}.png", f"{name}.md", f"{first}.json"}
    assert {path.name for path in tmp_path.iterdir()} == written
    assert (tmp_path / f"{name}.md").read_text().startswith("## ")


def test_reproduce_writes_where_it_says_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    study = dataclasses.replace(
        STUDIES["clip-variants"],
        configs=lambda updates: {"none": dataclasses.replace(CONFIG, updates=updates)},
    )
    monkeypatch.setitem(RESULTS, "clip-variants", study)
    monkeypatch.setattr(sweep, "make_run", make_run)
    command = "reproduce", "clip-variants", "--budget", 2, "--output", tmp_path
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert words_of(result).startswith("One run of at most 2 updates. ")
    assert "Budget: 2 updates a run" in words_of(result)
    assert f"Wrote {tmp_path}/clip-variants.png" in result.output
    names = ["clip-variants.md", "clip-variants.png", "none.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "make_run", interrupted)
    again = invoke(*command)
    assert again.exit_code == 0, again.output
    (tmp_path / "none.json").unlink()
    stopped = invoke(*command)
    assert stopped.exit_code == 130
    assert "goes on from what was saved" in stopped.output
    assert f"optax-ltd {' '.join(map(str, command))}\n" in stopped.output


def test_reproduce_says_how_to_go_on_when_the_time_is_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def slow(config: Config, *_: object, lengths: Sequence[int], **__: object) -> Run:
        now[0] += 25.0
        run = make_run(dataclasses.replace(config, updates=500), lengths=lengths)
        run.config, run.time_limit = config, 60 / 14
        return run

    now = [0.0]
    monkeypatch.setattr(sweep, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(sweep, "make_run", slow)
    command = "reproduce", "clip-variants", "--budget", "1min", "--output", tmp_path
    made = invoke(*command)
    assert made.exit_code == 0, made.output
    # A third run would have ended after 75 seconds.
    assert len(list(tmp_path.glob("*.json"))) == 2
    told = words_of(made)
    assert "14 runs, in 1min and on to the next test." in told
    assert "Budget: 4 seconds a run, and on to its next test: 500 updates." in told
    assert "The time is out with 2 of 14 runs made. Go on with the others:" in told
    assert f"optax-ltd {' '.join(map(str, command))}" in told
    invoke(*command)
    assert len(list(tmp_path.glob("*.json"))) == 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("figure8",), "NAME must be one of cliff, figure7, .* got 'figure8'"),
        ((), "NAME must be one of cliff, figure7, .* got none"),
        (("recipe", "--budget", "1h"), "--budget must be updates of each run, .* '1h'"),
        (
            ("cliff", "--budget", "5"),
            "--budget must be left out, as cliff has no runs; got '5'",
        ),
    ],
)
def test_reproduce_names_what_is_wrong(arguments: tuple[str, ...], reason: str):
    result = invoke("reproduce", *arguments)
    assert result.exit_code == 2
    assert re.search(reason, words_of(result))
