"""The folder of a run: its config and its latest states."""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training.json_files import read_json, write_json
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.experiments.training.trainer import Member

_CONFIG = "config.json"
_KEPT = 2


class Checkpoints:
    """Saves a runner in the background and brings it back.

    A context: on leaving it, everything has been written.

    Attributes:
      folder: Where.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of every save
        self._manager = ocp.CheckpointManager(
            folder.absolute() / "states",
            item_names=("states", "run"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(_KEPT),
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def update(self) -> int:
        """Updates made before the latest complete checkpoint; 0 if there is none."""
        return self._manager.latest_step() or 0

    def save(self, runner: Runner) -> None:
        """Saves a runner as it stands.

        Args:
          runner: whose config the folder has.
        """
        self._manager.save(
            runner.run.update,
            args=ocp.args.Composite(
                states=ocp.args.StandardSave(_by_path(_states(runner))),
                run=ocp.args.JsonSave(runner.run.to_dict()),
            ),
        )

    def restore(self, runner: Runner) -> None:
        """Brings a new runner to the latest complete checkpoint, if there is one.

        Args:
          runner: of the folder's config; its budget of updates may be another.
        """
        step = self._manager.latest_step()
        if step is None:
            return
        now = _by_path(_states(runner))
        restored: Any = self._manager.restore(
            step,
            args=ocp.args.Composite(
                states=ocp.args.StandardRestore(
                    jax.tree.map(ocp.tree.to_shape_dtype_struct, now)
                ),
                run=ocp.args.JsonRestore(),
            ),
        )
        structure = jax.tree.structure(_states(runner))
        leaves = [restored.states[path] for path in now]
        states = jax.tree.unflatten(structure, leaves)
        runner.members, runner.kept = states["members"], states["kept"]
        before = Run.from_dict(restored.run)
        runner.run.evaluations = before.evaluations
        runner.run.seconds = before.seconds


def write_config(folder: Path, config: Config) -> None:
    """Begins a folder.

    Args:
      folder: a new or an empty one.
      config: of the run whose states it will hold.

    Raises:
      InputError: if it holds anything.
      OSError: if it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise refusal("checkpoint", "a folder that is new or empty", f"{str(folder)!r}")
    rewrite_config(folder, config)


def rewrite_config(folder: Path, config: Config) -> None:
    """Gives a folder another budget of updates.

    Args:
      folder: begun by `write_config`.
      config: with that budget, the same in all else.

    Raises:
      OSError: if it cannot be written.
    """
    write_json(folder / _CONFIG, config.to_dict())


def read_config(folder: Path) -> Config:
    """The config of a folder.

    Args:
      folder: begun by `write_config`.

    Raises:
      InputError: if it is none.
    """
    if not (folder / _CONFIG).is_file():
        raise refusal("checkpoint", "a folder of checkpoints", f"{str(folder)!r}")
    return Config.from_dict(read_json(folder / _CONFIG))


def _states(runner: Runner) -> dict[str, Member]:
    return {"members": runner.members, "kept": runner.kept}


def _by_path(tree: Any) -> dict[str, jax.Array]:
    """A flat dictionary, which Orbax gives back as it was; a runner has the rest."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
