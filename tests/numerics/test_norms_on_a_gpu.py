"""A program for a GPU has no condition in its norm, and gives the same numbers."""

import functools
import re
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.transforms.factories import loose

GRADIENTS = {
    "ordinary": [3, 4],
    "zero": [0, 0],
    "tiny": [3e-30, 4e-30],
    "huge": [3e30, -4e30],
    "inf": [1, np.inf],
    "nan": [np.nan, np.inf],
}
CLIPS = {
    "whole": loose(ltd.clip_by_global_norm(1.0)),
    "each leaf": loose(ltd.clip_by_leaf_average_norm(max_norm=1.0)),
}
each_clip = pytest.mark.parametrize("clip", CLIPS)


def _gradient(kind: str) -> list[jax.Array]:
    return [jnp.ones((2, 3)) * GRADIENTS[kind][0], jnp.ones(4) * GRADIENTS[kind][1]]


@functools.cache
def _programs(clip: str, *platforms: str) -> Any:
    """What is lowered for these platforms, compiled for a CPU as if it were one."""

    def update(gradient: Any) -> Any:
        return CLIPS[clip].update(gradient, CLIPS[clip].init(gradient))

    anywhere = [jax.export.DisabledSafetyCheck.platform()]
    exported = jax.export.export(
        jax.jit(update), platforms=platforms, disabled_checks=anywhere
    )(_gradient("ordinary"))
    return jax.jit(exported.call).lower(_gradient("ordinary")).compile()


@each_clip
def test_a_clip_has_a_condition_on_a_cpu_alone(clip):
    programs = {name: _programs(clip, name).as_text() for name in ("cuda", "cpu")}
    found = {k: len(re.findall(r" conditional\(", v)) for k, v in programs.items()}
    assert found["cuda"] == 0 < found["cpu"]


@each_clip
@pytest.mark.parametrize("kind", GRADIENTS)
def test_a_gpu_sees_the_same_norm(kind, clip):
    seen = jax.device_get(_programs(clip, "cuda")(_gradient(kind)))
    expected = jax.device_get(_programs(clip, "cpu")(_gradient(kind)))
    jax.tree.map(np.testing.assert_array_equal, seen, expected)
