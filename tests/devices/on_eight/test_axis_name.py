"""Transformations inside ``shard_map`` and ``pmap``, which hold parts of the leaves."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

import optax_ltd as ltd
from tests.devices import gradients
from tests.transforms.factories import RANDOM

AXES = ("x", "y")
# Split along both axes, along one, and whole: on every device the same.
SPECS = {"matrix": P("x", "y"), "tall": P("y"), "bias": P()}


@functools.cache
def by_shard_map() -> Any:
    mesh = gradients.mesh_of((4, 2))
    stacked = {name: P(None, *spec) for name, spec in SPECS.items()}
    run = functools.partial(gradients.run, axis_name=AXES)
    mapped = jax.shard_map(
        run,
        mesh=mesh,
        in_specs=(stacked, SPECS),
        out_specs={name: (stacked, P()) for name in gradients.alone()},
    )
    return jax.jit(mapped)(gradients.gradients(), gradients.ones())


def assert_as_alone(found: Any) -> None:
    """The same but for the entries of random steps, of which the norm is the same."""
    for name, (updates, state) in gradients.alone().items():
        gradients.assert_close(found[name][1], state)
        if name not in RANDOM:
            gradients.assert_close(found[name][0], updates)
            continue
        for i in range(len(gradients.SIZES)):
            step, other = (
                jax.tree.map(lambda leaf, i=i: leaf[i].astype(float), tree)
                for tree in (found[name][0], updates)
            )
            norms = ltd.global_norm(step), ltd.global_norm(other)
            np.testing.assert_allclose(*norms, rtol=2e-6)


def test_shard_map_gives_the_update_of_one_device():
    assert_as_alone(by_shard_map())


@pytest.mark.parametrize("name", ["clip_or_random_step", "clip_or_random_step-sphere"])
def test_parts_have_steps_of_their_own_and_whole_leaves_one(name: str):
    updates, _ = by_shard_map()[name]
    for leaf, parts in {"matrix": 8, "tall": 2, "bias": 1}.items():
        shards = updates[leaf].addressable_shards
        steps = {np.asarray(shard.data)[3].tobytes() for shard in shards}
        assert len(steps) == parts


def test_parts_skip_the_same_steps_of_an_optimizer():
    """A NaN in one part, a loss on each device: the moments stay, or move, in all."""

    def run(stacked: Any, params: Any, losses: jax.Array, axes: Any = AXES) -> Any:
        tx: Any = ltd.skip_steps(optax.adam(0.1), zscore=6.0, axis_name=axes)

        def step(state: Any, row: Any) -> Any:
            gradient, loss = row
            updates, state = tx.update(gradient, state, params, value=loss.sum())
            return state, (updates, state.inner_state[0].mu)

        state, seen = jax.lax.scan(step, tx.init(params), (stacked, losses))
        return seen, state.skips

    stacked = {name: P(None, *spec) for name, spec in SPECS.items()}
    mapped = jax.shard_map(
        run,
        mesh=gradients.mesh_of((4, 2)),
        in_specs=(stacked, SPECS, P(None, AXES)),
        out_specs=((stacked, stacked), P()),
    )
    losses = jnp.ones((5, 8)).at[1, 3].set(jnp.inf)
    arguments = gradients.gradients(), gradients.ones(), losses
    (updates, moments), skips = jax.jit(mapped)(*arguments)
    expected, alone = jax.jit(functools.partial(run, axes=None))(*arguments)
    gradients.assert_close((updates, moments), expected)
    gradients.assert_close(skips, alone)
    assert skips.skipped_nonfinite == 2
    for i in (1, 3):
        assert not any(leaf[i].any() for leaf in updates.values())
        for leaf in moments.values():
            np.testing.assert_array_equal(leaf[i], leaf[i - 1])


@pytest.mark.slow
def test_pmap_gives_the_update_of_one_device():
    """Every leaf counts as a part: here the rows of one tree."""

    def rows(tree: Any, axis: int) -> Any:
        return jax.tree.map(lambda leaf: jnp.stack(jnp.split(leaf, 8, axis=axis)), tree)

    run = jax.pmap(functools.partial(gradients.run, axis_name="x"), axis_name="x")
    found = run(rows(gradients.gradients(), 1), rows(gradients.ones(), 0))
    joined = {
        name: (
            {k: jnp.concatenate(leaf, axis=1) for k, leaf in updates.items()},
            jax.tree.map(lambda array: array[0], state),
        )
        for name, (updates, state) in found.items()
    }
    assert_as_alone(joined)
    step = found["clip_or_random_step"][0]["matrix"][:, 3]
    assert len({np.asarray(part).tobytes() for part in step}) == 8


@pytest.mark.parametrize("map_by", ["shard_map", "pmap"])
def test_replicas_take_the_same_step(map_by: str):
    """Parameters on every device, and the mean of the devices' gradients."""
    tx: Any = ltd.clip_or_random_step(1.0, key=0)

    def step(gradient: Any) -> Any:
        mean = jax.lax.pmean(jax.tree.map(lambda leaf: leaf[0], gradient), "x")
        return tx.update(mean, tx.init(mean))[0]

    trees = jax.tree.map(lambda leaf: jnp.stack([leaf[2]] * 8), gradients.gradients())
    for bad in (False, True):
        if bad:
            trees["bias"] = trees["bias"].at[5, 0].set(jnp.nan)
        one = jax.tree.map(lambda leaf: leaf.mean(0), trees)
        expected = tx.update(one, tx.init(one))[0]
        if map_by == "pmap":
            slices = jax.tree.map(lambda leaf: leaf[:, None], trees)
            every = jax.pmap(step, axis_name="x")(slices)
            found = jax.tree.map(lambda leaf: leaf[3], every)
            for leaf in jax.tree.leaves(every):
                assert all(np.array_equal(leaf[0], other) for other in leaf)
        else:
            found = jax.jit(
                jax.shard_map(
                    step, mesh=gradients.mesh_of((8,)), in_specs=P("x"), out_specs=P()
                )
            )(trees)
        gradients.assert_close(found, expected)


@pytest.mark.parametrize("size", [1.0, 1e30])
def test_the_derivative_of_the_norm_of_all_parts(size: float):
    tree = jax.tree.map(lambda leaf: size * leaf[0], gradients.gradients())
    norm = jax.shard_map(
        functools.partial(ltd.global_norm, axis_name=AXES),
        mesh=gradients.mesh_of((4, 2)),
        in_specs=(SPECS,),
        out_specs=P(),
    )
    gradients.assert_close(
        jax.jit(jax.grad(norm))(tree), jax.grad(ltd.global_norm)(tree)
    )


def test_without_a_name_each_part_is_a_gradient_of_its_own():
    tx: Any = ltd.clip_or_random_step(1.0, key=0)

    def step(gradient: jax.Array) -> Any:
        return tx.update(gradient, tx.init(gradient))[0]

    parts = jnp.arange(1.0, 65.0).reshape(8, 8).at[3, 2].set(jnp.nan)
    mapped = jax.shard_map(
        step, mesh=gradients.mesh_of((8,)), in_specs=P("x"), out_specs=P("x")
    )
    found = jax.jit(mapped)(parts)
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=1), 1, rtol=1e-6)
    gradients.assert_close(found[0], step(parts[0]))
    gradients.assert_close(found[3], step(parts[3]))


@pytest.mark.parametrize("size", [1.0, 1e30])
def test_each_example_is_clipped_by_the_norm_of_all_its_parts(size: float):
    batch = {name: size * leaf[:2] for name, leaf in gradients.gradients().items()}
    tx: Any = ltd.clip_per_example(size)
    expected = tx.update(batch, tx.init(None))
    split: Any = ltd.clip_per_example(size, axis_name=AXES)
    mapped = jax.shard_map(
        lambda part: split.update(part, split.init(None)),
        mesh=gradients.mesh_of((4, 2)),
        in_specs=({name: P(None, *spec) for name, spec in SPECS.items()},),
        out_specs=(SPECS, P()),
    )
    found = jax.jit(mapped)(batch)
    gradients.assert_close(found, expected)
