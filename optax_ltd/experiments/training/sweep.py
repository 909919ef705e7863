"""Many runs, each kept as it ends."""

import dataclasses
import itertools
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.terminal.train import train
from optax_ltd.experiments.training.evaluate import reaches
from optax_ltd.experiments.training.json_files import read_json, write_json
from optax_ltd.experiments.training.run import Run


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
            f"{str(path)!r} must have the fields base and grid, got "
            f"{', '.join(map(repr, values)) or 'none'}"
        )
    base = values.get("base", {})
    if not isinstance(base, dict):
        raise InputError(f"base must have the fields of a config, got {base!r}")
    grids = values["grid"] if isinstance(values["grid"], list) else [values["grid"]]
    configs: dict[str, Config] = {}
    for grid in grids:
        for choice in _combinations(grid):
            config = Config.from_dict({**base, **choice})
            make_setup(config)
            name = _name(choice)
            if configs.setdefault(name, config) != config:
                raise InputError(f"two runs of {str(path)!r} would be named {name!r}")
    if not configs:
        raise InputError(f"the grid of {str(path)!r} has no run")
    return configs


def sweep(
    configs: Mapping[str, Config],
    folder: Path,
    console: Console,
    *,
    seconds: float = math.inf,
    lengths: Sequence[int] = (),
) -> Iterator[tuple[str, Run]]:
    """Makes the runs that a folder does not hold yet.

    Args:
      configs: by name.
      folder: where each run's record is written when the run ends.
      console: where progress goes.
      seconds: how long all of it may take; each run gets its part of what is left,
        and when nothing is left, those not yet begun are left for another time.
      lengths: at which the trained networks are tested, beside their own.

    Yields:
      The runs by name, old ones and new ones.

    Raises:
      InputError: if the folder holds another run of that name.
      KeyboardInterrupt: on Ctrl-C; the run in flight is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    runs = kept(configs, folder)
    for name, run in runs.items():
        if run.config != configs[name]:
            path = str(_path(folder, name))
            raise InputError(f"{path!r} is of another config; give another folder")
    missing = len(configs) - len(runs)
    for name, config in configs.items():
        if name not in runs:
            left = deadline - time.monotonic()
            if left <= 0:
                continue
            made = len(configs) - missing
            console.print(f"{name}, {made + 1} of {len(configs)}", highlight=False)
            runner, ended = train(config, console, seconds=left / missing)
            if not ended:
                raise KeyboardInterrupt
            runs[name] = run = runner.run
            run.reach = {r.length: r.error.tolist() for r in reaches(runner, lengths)}
            write_json(_path(folder, name), run.record())
            missing -= 1
        yield name, runs[name]


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
                    f"{str(path)!r} must be the record of a run, or not be"
                ) from error
    return runs


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _combinations(grid: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(grid, dict) or not all(
        isinstance(values, list) for values in grid.values()
    ):
        raise InputError(f"a grid must have lists of values, got {grid!r}")
    known = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(set(grid) - known)
    if unknown:
        raise InputError(f"a config has no field {unknown[0]!r}, as a grid has it")
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _name(choice: Mapping[str, Any]) -> str:
    words = [f"{field}={_word(value)}" for field, value in choice.items()]
    return re.sub(r"[^\w.+=,-]", "_", ",".join(words)) or "base"


def _word(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
