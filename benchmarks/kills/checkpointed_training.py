"""A small training run that saves itself every few updates and goes on where it was.

A `FlowRNN` learns the temporal order with adam behind the clips that follow the
training and two transformations that draw random steps. Each seventh gradient is
spoilt, so that these are drawn. Every chunk of updates is one compiled call; after it
the run tells its bits and hands its state to Orbax, which writes in the background.
Started on a folder that holds checkpoints, it begins with the latest.

    python -m benchmarks.kills.checkpointed_training FOLDER --updates 1000
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from flax import nnx

import optax_ltd as ltd

UPDATES = 1000
EVERY = 40  # updates from one save to the next
TASK = ltd.tasks.temporal_order(length=10)
HIDDEN, BATCH = 8, 4
FAULT_EVERY = 7
FAULTS = (float("nan"), float("inf"), 1e30)


class Network(nnx.Module):
    """One recurrent layer, read at the last step."""

    def __init__(self, rngs: nnx.Rngs):
        cell = nnx.SimpleCell(TASK.input_size, HIDDEN, rngs=rngs)
        self.rnn = ltd.FlowRNN(cell, flow_weight=0.1)
        self.head = nnx.Linear(HIDDEN, TASK.output_size, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps inputs [batch, time, features] to logits [batch, classes]."""
        return self.head(self.rnn(inputs)[:, -1])


class Training(NamedTuple):
    """All that a run needs to go on.

    Attributes:
      params: the network's parameters, in dictionaries.
      opt_state: the optimiser's state.
      step: updates made, int32.
    """

    params: Any
    opt_state: Any
    step: jax.Array


def optimizer() -> optax.GradientTransformation:
    """Two random steps, the three thresholds that follow the training, and adam.

    A fault in the recurrent layer meets the first of the random steps, one in the
    readout the second.
    """

    def in_layer(params: Any) -> Any:
        return jax.tree.map_with_path(lambda path, _: path[0].key == "rnn", params)

    return optax.chain(
        optax.masked(ltd.nonfinite_random_step(0.5, key=1), in_layer),
        ltd.clip_by_average_norm(1.5),
        ltd.clip_by_norm_percentile(80.0, window_size=50),
        ltd.clip_by_norm_zscore(max_norm=1.0),
        ltd.clip_or_random_step(0.2, key=3),
        optax.adam(1e-2),
    )


def start() -> Training:
    """A run before its first update, on the first device.

    What Orbax restores is bound to a device. If the start were not, `train` would be
    compiled once for each.
    """
    return jax.device_put(_init(), jax.devices()[0])


@jax.jit
def _init() -> Training:
    params = nnx.to_pure_dict(nnx.state(Network(nnx.Rngs(0)), nnx.Param))
    return Training(params, optimizer().init(params), jnp.zeros((), jnp.int32))


def update(training: Training) -> Training:
    """Makes one update. What it draws comes from the number of the update alone."""
    graph, _, rest = nnx.split(Network(nnx.Rngs(0)), nnx.Param, ...)
    batch = TASK.sample(jax.random.fold_in(jax.random.key(4), training.step), BATCH)

    def loss(params: Any) -> jax.Array:
        model = nnx.merge(graph, params, rest, copy=True)
        return TASK.loss(model(batch.inputs), batch)

    grads = _spoil(jax.grad(loss)(training.params), training.step)
    changes, opt_state = optimizer().update(grads, training.opt_state, training.params)
    params = optax.apply_updates(training.params, changes)
    return Training(params, opt_state, training.step + 1)


@jax.jit
def train(training: Training, until: jax.typing.ArrayLike) -> Training:
    """Makes updates in one compiled call, until there are `until` of them."""
    return jax.lax.while_loop(lambda now: now.step < until, update, training)


def _spoil(grads: Any, step: jax.Array) -> Any:
    """Puts a fault into one leaf of each seventh gradient."""
    leaves, structure = jax.tree.flatten(grads)
    count, now = step // FAULT_EVERY, step % FAULT_EVERY == FAULT_EVERY - 1
    fault = jnp.array(FAULTS)[count % len(FAULTS)]
    spoilt = [
        jnp.where(now & (count % len(leaves) == i), fault, leaf)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, spoilt)


def bits(tree: Any) -> str:
    """A checksum of all leaves: their paths, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        array = jax.device_get(leaf)
        head = (jax.tree_util.keystr(path), str(array.dtype), array.shape)
        digest.update(repr(head).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def manager(folder: Path) -> ocp.CheckpointManager:
    """Keeps the latest two checkpoints in a folder; saves in the background."""
    policy = ocp.checkpoint_managers.LatestN(2)
    return ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=policy, cleanup_tmp_directories=True
        ),
    )


def restore(checkpoints: ocp.CheckpointManager) -> Training:
    """The latest complete checkpoint, or the start if there is none."""
    training, step = start(), checkpoints.latest_step()
    if step is None:
        return training
    target = jax.tree.map(ocp.tree.to_shape_dtype_struct, training)
    restored: Any = checkpoints.restore(step, args=ocp.args.StandardRestore(target))
    return restored


def run(folder: Path, updates: int, every: int) -> Iterator[tuple[int, str]]:
    """Trains to the end from the latest checkpoint.

    Args:
      folder: of the checkpoints; absolute.
      updates: how many there shall be.
      every: updates from one save to the next.

    Yields:
      Number of updates and bits: those restored, then those after each chunk, before
      it is saved.
    """
    with manager(folder) as checkpoints:
        training = restore(checkpoints)
        yield int(training.step), bits(training)
        while (step := int(training.step)) < updates:
            training = train(training, min(step + every, updates))
            yield int(training.step), bits(training)
            checkpoints.save(int(training.step), args=ocp.args.StandardSave(training))


def main() -> None:
    """Runs and prints what `run` yields, a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--every", type=int, default=EVERY)
    options = parser.parse_args()
    for told in run(options.folder.absolute(), options.updates, options.every):
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
