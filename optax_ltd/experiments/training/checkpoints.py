"""The folder of a run: its config and its latest states."""

import itertools
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from optax_ltd.experiments.input_error import InputError, refusal
from optax_ltd.experiments.parts.config import LARGEST, Config
from optax_ltd.experiments.training.json_files import read_json, write_json
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.experiments.training.trainer import Member

_LOGGER = logging.getLogger(__name__)
_CONFIG = "config.json"
_KEPT = 2


class Checkpoints:
    """Saves a runner in the background and brings it back.

    A context: on leaving it, everything has been written.

    Args:
      folder: where.
      read_only: whether nothing will be saved, so that the folder stays as it is.

    Attributes:
      folder: Where.
    """

    def __init__(self, folder: Path, *, read_only: bool = False):
        self.folder = folder
        # Orbax tells of every save, and of what this class raises or goes around.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._damaged: list[int] = []
        self._states = folder.absolute() / "states"
        self._manager = ocp.CheckpointManager(
            self._states,
            item_handlers={
                "states": ocp.StandardCheckpointHandler(),
                "run": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(_KEPT),
                # Another process may be at it, whose unfinished save is no rest.
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
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
        self._set_aside_damaged()
        self._manager.save(
            runner.run.update,
            args=ocp.args.Composite(
                states=ocp.args.StandardSave(_by_path(_states(runner))),
                run=ocp.args.JsonSave(runner.run.to_dict()),
            ),
        )

    def restore(self, runner: Runner) -> None:
        """Brings a new runner to the latest state that can be read, if there is one.

        A later one that cannot be is told of, and set aside in the folder when the
        runner is saved again.

        Args:
          runner: of the folder's config; its budget of updates may be another.

        Raises:
          InputError: if there are states, and none can be read.
        """
        damaged: dict[int, Exception] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                self._bring(runner, step)
            # A file that is damaged, or of another config, makes Orbax raise anything.
            except Exception as error:
                damaged[step] = error
            else:
                break
        else:
            if damaged:
                told = "a folder with a state of its config that can be read"
                came = f"{str(self.folder)!r}, where none of {len(damaged)} can be"
                raise refusal("checkpoint", told, came) from damaged[max(damaged)]
        for step in damaged:
            _LOGGER.warning(
                "The state of update %d in %r cannot be read (%s); one before it is "
                "taken.",
                step,
                str(self.folder),
                type(damaged[step]).__name__,
            )
        self._damaged = list(damaged)

    def _bring(self, runner: Runner, step: int) -> None:
        now = _by_path(_states(runner))
        metadata: Any = self._manager.item_metadata(step)
        # Orbax finds this out when it has begun to read, and its threads then complain.
        saved = {path: leaf.shape for path, leaf in metadata["states"].tree.items()}
        if saved != {path: _saved_shape(leaf) for path, leaf in now.items()}:
            raise ValueError("This is a state of another config.")
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
        before = Run.from_dict(restored.run)
        runner.members, runner.kept = states["members"], states["kept"]
        runner.run.evaluations = before.evaluations
        runner.run.seconds = before.seconds

    def _set_aside_damaged(self) -> None:
        """Makes room for states after as many updates as those that were damaged."""
        for step in self._damaged:
            names = (f"damaged-{step}-{i}" for i in itertools.count(1))
            free = next(x for name in names if not (x := self._states / name).exists())
            (self._states / str(step)).rename(free)
        if self._damaged:
            self._manager.reload()
        self._damaged = []


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


def has_config(folder: Path) -> bool:
    """Whether a run has begun in a folder.

    Args:
      folder: that may not be there.
    """
    return (folder / _CONFIG).is_file()


def read_config(folder: Path) -> Config:
    """The config of a folder.

    Args:
      folder: begun by `write_config`.

    Raises:
      InputError: if it is none.
    """
    if not has_config(folder):
        raise refusal("checkpoint", "a folder of checkpoints", f"{str(folder)!r}")
    return Config.from_dict(read_json(folder / _CONFIG))


def check_same(path: Path, found: Config, wanted: Config) -> None:
    """Refuses to take one run for another.

    Args:
      path: of a run's record or folder.
      found: the config there.
      wanted: the config of the run that is to be made.

    Raises:
      InputError: if they differ.
    """
    if found == wanted:
        return
    there, here = found.to_dict(), wanted.to_dict()
    field = next(name for name in here if there[name] != here[name])
    raise InputError(
        f"{str(path)!r} must be of this config; got the run of another config, with "
        f"{field} {_shown(there[field])} in place of {_shown(here[field])}. Give "
        "this run another folder."
    )


def _shown(value: Any) -> str:
    """A field's value; as many updates as there may be are those of a time."""
    return "unlimited" if value == LARGEST else f"{value}"


def _states(runner: Runner) -> dict[str, Member]:
    return {"members": runner.members, "kept": runner.kept}


def _by_path(tree: Any) -> dict[str, jax.Array]:
    """A flat dictionary, which Orbax gives back as it was; a runner has the rest."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _saved_shape(leaf: jax.Array) -> tuple[int, ...]:
    """The shape under which Orbax has a leaf: of a key, that of its numbers."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf).shape
    return leaf.shape
