"""A state is saved and restored bit for bit, and goes on as if it never had been."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import serialization

from tests.transforms.factories import (
    GRADIENTS,
    PARAMS,
    VARIANTS,
    jitted_update,
    same,
    warmed_state,
)


@pytest.mark.parametrize("name", VARIANTS)
def test_flax_serialization(name):
    state = warmed_state(name)
    data = serialization.to_bytes(state)
    restored = serialization.from_bytes(VARIANTS[name].make().init(PARAMS), data)
    _same_future(name, state, restored)


@pytest.mark.parametrize("name", VARIANTS)
def test_orbax(name, tmp_path):
    state = warmed_state(name)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        restored = checkpointer.restore(tmp_path / "state", target)
    _same_future(name, state, restored)


def _same_future(name, state, restored):
    # What Orbax has placed on a device would have the update compiled once more.
    restored = jax.tree.map(np.asarray, restored)
    assert same(state, restored)
    for kind in ("one nan", "huge", "all nan"):
        updates, state = jitted_update(name)(GRADIENTS[kind], state, PARAMS)
        others, restored = jitted_update(name)(GRADIENTS[kind], restored, PARAMS)
        assert same(updates, others)
    assert same(state, restored)
