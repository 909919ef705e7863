"""States of every transformation, written and read by one process or another.

    python -m tests.checkpoints.states FOLDER

reads what `write` left in FOLDER, writes it anew in FOLDER/again, and prints the
checksum of what each format gave.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from benchmarks.kills import checkpointed_training
from tests.transforms.factories import PARAMS, VARIANTS, signature


def fresh() -> dict[str, Any]:
    """The first state of every transformation, and a whole training run."""
    states = {name: variant.make().init(PARAMS) for name, variant in VARIANTS.items()}
    return {**states, "training": checkpointed_training.start()}


def scrambled(states: Any) -> Any:
    """The same with random bits everywhere: NaNs with a payload, subnormals, any key.

    Of the float leaves every fifth is full of negative zeros instead, which a format
    that leaves out zeros may take for such.
    """
    random, leaves = np.random.default_rng(0), jax.tree.leaves(states)

    def scramble(number: int, leaf: jax.Array) -> jax.Array:
        words = np.frombuffer(random.bytes(leaf.nbytes), leaf.dtype)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and number % 5 == 0:
            words = np.full(leaf.size, -0.0, leaf.dtype)
        return jnp.asarray(words.reshape(leaf.shape))

    new = [scramble(number, leaf) for number, leaf in enumerate(leaves)]
    return jax.tree.unflatten(jax.tree.structure(states), new)


def write(folder: Path, orbax: Any, flax: Any) -> None:
    """Writes what is given, each in its format."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "orbax", orbax)
    (folder / "flax.msgpack").write_bytes(serialization.to_bytes(flax))


def read(folder: Path) -> dict[str, Any]:
    """Reads both; each must have the signature of what an `init` returns."""
    first = fresh()
    data = (folder / "flax.msgpack").read_bytes()
    with ocp.StandardCheckpointer() as checkpointer:
        target = jax.tree.map(ocp.tree.to_shape_dtype_struct, first)
        orbax = checkpointer.restore(folder / "orbax", target)
    flax = jax.tree.map(jnp.asarray, serialization.from_bytes(first, data))
    assert signature(orbax) == signature(flax) == signature(first)
    return {"orbax": orbax, "flax": flax}


if __name__ == "__main__":
    here = Path(sys.argv[1])
    found = read(here)
    write(here / "again", **found)
    print(json.dumps({k: checkpointed_training.bits(v) for k, v in found.items()}))
