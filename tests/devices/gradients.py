"""A run of every transformation over a few gradients, in one program."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.transforms.factories import VARIANTS

# Leading axis: the update. Its gradients are ordinary, clipped, too large for their
# squares, not finite, and ordinary again.
SIZES = np.array([0.02, 3, 3e20, np.nan, 0.02], np.float32)
SHAPES = {"matrix": (16, 8), "tall": (64, 4), "bias": (8,)}


def gradients() -> dict[str, jax.Array]:
    """One array per leaf, [updates, ...]; a single entry is NaN in the fourth."""
    rng = np.random.default_rng(0)
    tree = {}
    for name, shape in SHAPES.items():
        entries = rng.standard_normal((len(SIZES), *shape)).astype(np.float32)
        sizes = np.where(np.isnan(SIZES), 1, SIZES)
        tree[name] = entries * sizes.reshape(-1, *[1] * len(shape))
    tree["tall"][np.isnan(SIZES), 37, 2] = np.nan
    return {name: jnp.asarray(leaf) for name, leaf in tree.items()}


CHOSEN = (
    "clip_by_value",
    "clip_by_global_norm",
    "clip_by_global_norm-random_step",
    "clip_by_average_norm",
    "clip_by_leaf_average_norm",
    "clip_by_norm_percentile",
    "clip_by_norm_zscore",
    "nonfinite_random_step",
    "nonfinite_random_step-shrink",
    "clip_or_random_step",
    "clip_or_random_step-sphere",
    "skip_steps-zscore",
)


# After a single norm a deviation is zero but for rounding, which no two meshes share.
WARMUP = {"clip_by_norm_zscore": {"warmup_steps": 2}}


def run(stacked: Any, params: Any, **arguments: Any) -> Any:
    """The updates of each transformation, [updates, ...], and its last state."""
    found = {}
    for name in CHOSEN:
        variant = VARIANTS[name]
        chosen = variant.arguments | WARMUP.get(name, {}) | arguments
        tx = variant._replace(arguments=chosen).make()

        def step(state: Any, gradient: Any, tx: Any = tx) -> Any:
            updates, state = tx.update(gradient, state, params)
            return state, updates

        state, updates = jax.lax.scan(step, tx.init(params), stacked)
        found[name] = (updates, state)
    return found


@functools.cache
def alone() -> Any:
    """The same on one device."""
    return jax.jit(run)(gradients(), ones())


def ones() -> dict[str, jax.Array]:
    return {name: jnp.ones(shape) for name, shape in SHAPES.items()}


def mesh_of(
    shape: tuple[int, ...], kind: AxisType = AxisType.Auto
) -> jax.sharding.Mesh:
    names = ("x", "y")[: len(shape)]
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(shape))


def laid_out(tree: Any, mesh: jax.sharding.Mesh, specs: Any, lead: int = 0) -> Any:
    """The tree on the mesh, `lead` axes in front of each leaf's own undivided."""
    return {
        name: jax.device_put(leaf, NamedSharding(mesh, P(*[None] * lead, *specs[name])))
        for name, leaf in tree.items()
    }


def assert_close(found: Any, expected: Any) -> None:
    """Equal to rounding, leaf by leaf; NaN where the other is."""
    names = jax.tree.leaves_with_path(expected)
    for (path, right), left in zip(names, jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(
            left, right, rtol=2e-6, atol=1e-30, err_msg=jax.tree_util.keystr(path)
        )
