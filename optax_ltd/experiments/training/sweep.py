"""Many runs, each kept as it ends."""

import dataclasses
import itertools
import math
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optax_ltd.experiments.input_error import InputError, refusal
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.methods import title
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.checkpoints import check_same
from optax_ltd.experiments.training.evaluate import reaches
from optax_ltd.experiments.training.in_flight import saved_in_flight
from optax_ltd.experiments.training.json_files import read_json, write_json
from optax_ltd.experiments.training.observer import Observer, Watch, train_observed
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner


def read_sweep(path: Path) -> dict[str, Config]:
    """The runs that a file asks for.

    Args:
      path: a file of JSON with the fields ``base``, of a config, which all runs share,
        and ``grid``: by a field's name a list of its values; or a list of such grids.

    Returns:
      Configs by name, each of a grid's combinations.

    Raises:
      InputError: if it is no such file, or one of the configs cannot be run.
    """
    values = read_json(path)
    if set(values) - {"base", "grid"} or "grid" not in values:
        raise InputError(
            f"{str(path)!r} must have the fields base and grid; got "
            f"{', '.join(map(repr, values)) or 'none'}."
        )
    base = values.get("base", {})
    if not isinstance(base, dict):
        raise refusal("base", "an object with fields of a config", repr(base))
    grids = values["grid"] if isinstance(values["grid"], list) else [values["grid"]]
    configs: dict[str, Config] = {}
    for grid in grids:
        for choice in _combinations(grid):
            config = Config.from_dict({**base, **choice})
            make_setup(config)  # judges it; the run finds it made
            name = _name(choice)
            if configs.setdefault(name, config) != config:
                told = "such that each run has a name of its own"
                raise refusal("grid", told, f"two runs named {name!r}")
    if not configs:
        raise refusal("grid", "of one run or more", "none")
    return configs


def sweep(
    configs: Mapping[str, Config],
    folder: Path,
    watch: Watch,
    *,
    seconds: float = math.inf,
    lengths: Mapping[str, Sequence[int]] = {},
) -> Iterator[tuple[str, Run]]:
    """Makes the runs that a folder does not hold yet.

    What an observer raises ends the sweep. Of the run in flight nothing is lost if it
    was Ctrl-C, and else what came after the last save: one is made at the first test
    after each minute.

    Args:
      configs: by name.
      folder: where each run's record is written when the run ends, and until then,
        in a folder of its name, its states.
      watch: of the runs, each in its turn.
      seconds: how long all of it may take; each run gets its part of what is left.
        When less is left than the least that a run took beside its updates, for
        compiling and tests, those not yet begun are left for another time.
      lengths: by the name of a run, those at which its trained networks are tested,
        beside their own.

    Yields:
      The runs by name, old ones and new ones.

    Raises:
      InputError: if the folder holds another run of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    runs = kept(configs, folder)
    for name, run in runs.items():
        check_same(_path(folder, name), run.config, configs[name])
    missing = len(configs) - len(runs)
    overhead = 0.0
    for name, config in configs.items():
        if name not in runs:
            began = time.monotonic()
            left = deadline - began
            if left <= overhead:
                continue
            heading = f"{name}, {len(configs) - missing + 1} of {len(configs)}"
            with watch.run(heading, title(config)) as observer:
                runs[name] = make_run(
                    config,
                    observer,
                    seconds=left / missing,
                    lengths=lengths.get(name, ()),
                    states=folder / name,
                )
            write_json(_path(folder, name), runs[name].record())
            shutil.rmtree(folder / name, ignore_errors=True)
            missing -= 1
            # A run that went on in the middle brought more seconds than it took here.
            beside = max(0.0, time.monotonic() - began - runs[name].seconds)
            overhead = min(overhead or beside, beside)
        yield name, runs[name]


def make_run(
    config: Config,
    observer: Observer,
    *,
    seconds: float,
    lengths: Sequence[int],
    states: Path,
) -> Run:
    """Makes one run, from its config to the last of its tests.

    Args:
      config: of the run.
      observer: of the run; what it raises ends it.
      seconds: how long the training may take; the test then reached is the last.
      lengths: at which the trained networks are tested, beside their own.
      states: the folder of the run in flight; if it is there, the run goes on from it.

    Raises:
      InputError: if that is the folder of another run.
    """
    runner = Runner(make_setup(config), time_limit=seconds)
    tasks = {length: make_test_task(config, length) for length in lengths}
    with saved_in_flight(runner, states, observer) as saving:
        train_observed(runner, saving)
        tested = reaches(runner, tasks, observer)
    runner.run.reach = {reach.length: reach.error.tolist() for reach in tested}
    return runner.run


def kept(configs: Mapping[str, Config], folder: Path) -> dict[str, Run]:
    """The runs that a folder holds.

    Args:
      configs: by the names that runs may have.
      folder: that `sweep` wrote to.

    Raises:
      InputError: if a file of such a name is no record of a run.
    """
    runs = {}
    for name in configs:
        path = _path(folder, name)
        if path.exists():
            try:
                runs[name] = Run.from_dict(read_json(path))
            except (KeyError, TypeError) as error:
                raise InputError(
                    f"{str(path)!r} must be the record of a run; got something else."
                ) from error
    return runs


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _combinations(grid: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(grid, dict) or not all(
        isinstance(values, list) for values in grid.values()
    ):
        raise refusal("grid", "an object with lists of values", repr(grid))
    known = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(set(grid) - known)
    if unknown:
        raise refusal("grid", "of fields of a config", f"`{unknown[0]}`")
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _name(choice: Mapping[str, Any]) -> str:
    words = [f"{field}={_word(value)}" for field, value in choice.items()]
    return re.sub(r"[^\w.+=,-]", "_", ",".join(words)) or "base"


def _word(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
