"""Each transformation inside Optax's wrappers does what it does alone."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.transforms.factories import (
    FINITE,
    GRADIENTS,
    PARAMS,
    VARIANTS,
    each_variant,
    flat,
    gradient,
    jitted_update,
    loose,
    same,
    signature,
)

# A wrapper sees nothing but the update: one without a state of its own, one with
# running statistics, one with those of each leaf, one that reads the parameters, one
# that keeps a key, one that has another inside.
TELLING = (
    "clip_by_value",
    "clip_by_norm_zscore",
    "clip_by_leaf_average_norm",
    "nonfinite_random_step-shrink",
    "clip_or_random_step",
    "skip_steps-zscore",
)


def _alone(name: str, state: Any, kind: str) -> Any:
    return jitted_update(name)(GRADIENTS[kind], state, PARAMS)


OPTIMIZERS = {"sgd": optax.sgd(0.1, momentum=0.9), "adam": optax.adam(0.1)}
update_optimizer = {k: jax.jit(tx.update) for k, tx in OPTIMIZERS.items()}


@each_variant(fast=TELLING)
def test_before_an_optimizer(name):
    guard = VARIANTS[name].make()
    # Parameters in bfloat16 and gradients in float32, as in mixed precision.
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    chains = {key: loose(optax.chain(guard, tx)) for key, tx in OPTIMIZERS.items()}

    @jax.jit
    def update(updates, states):
        return {
            key: chain.update(updates, states[key], params)
            for key, chain in chains.items()
        }

    states = {key: chain.init(params) for key, chain in chains.items()}
    guard_state = guard.init(params)
    after_states = {key: tx.init(params) for key, tx in OPTIMIZERS.items()}
    for kind in GRADIENTS:
        guarded, guard_state = _alone(name, guard_state, kind)
        results = update(GRADIENTS[kind], states)
        for key, (updates, states[key]) in results.items():
            expected, after_states[key] = update_optimizer[key](
                guarded, after_states[key], params
            )
            # Past and present cancel in the momentum, not their rounding errors.
            np.testing.assert_allclose(
                flat(updates), flat(expected), rtol=1e-6, atol=1e-7
            )
            assert signature(states[key][0]) == signature(guard_state)
    assert same(states["sgd"][0], guard_state)
    assert same(states["adam"][0], guard_state)


@each_variant(fast=TELLING)
def test_under_inject_hyperparams(name):
    tx = VARIANTS[name].injected()
    update = jax.jit(tx.update)
    state, alone_state = tx.init(PARAMS), VARIANTS[name].make().init(PARAMS)
    for kind in GRADIENTS:
        updates, new_state = update(GRADIENTS[kind], state, PARAMS)
        assert signature(new_state) == signature(state)
        alone, alone_state = _alone(name, alone_state, kind)
        assert same(updates, alone)
        state = new_state
    assert same(state.inner_state, alone_state)
    assert len(ltd.metrics(state)) == len(ltd.metrics(alone_state))


def test_a_schedule_moves_the_threshold():
    factory = optax.inject_hyperparams(ltd.clip_or_random_step)
    tx = loose(factory(lambda count: 1.0 / (count + 1), key=0))
    state = tx.init(PARAMS)
    for step in range(3):
        for kind in ("large", "one nan"):
            updates, _ = tx.update(GRADIENTS[kind], state, PARAMS)
            norm = np.linalg.norm(flat(updates))
            np.testing.assert_allclose(norm, 1 / (step + 1), rtol=1e-6)
        _, state = tx.update(GRADIENTS["large"], state, PARAMS)


@each_variant(fast=TELLING)
def test_under_masked_and_multi_transform(name):
    guard = VARIANTS[name].make()
    hidden = {"hidden": jnp.array([jnp.nan, 5.0])}
    params = PARAMS | {"hidden": jnp.ones(2)}
    masked = loose(optax.masked(guard, {"a": True, "b": True, "hidden": False}))
    labels = {"a": "guarded", "b": "guarded", "hidden": "free"}
    partition = loose(
        optax.multi_transform({"guarded": guard, "free": optax.scale(2.0)}, labels)
    )
    update = jax.jit(
        lambda g, s, t: (masked.update(g, s, params), partition.update(g, t, params))
    )
    masked_state, partition_state = masked.init(params), partition.init(params)
    alone_state = guard.init(PARAMS)
    for kind in ("small", "huge", "one nan", "all nan"):
        updates = GRADIENTS[kind] | hidden
        (one, masked_state), (two, partition_state) = update(
            updates, masked_state, partition_state
        )
        alone, alone_state = _alone(name, alone_state, kind)
        assert same({"a": one["a"], "b": one["b"]}, alone)
        assert same({"a": two["a"], "b": two["b"]}, alone)
        assert same(one["hidden"], hidden["hidden"])
        assert same(two["hidden"], 2 * hidden["hidden"])
    # A state with a place for each leaf has one for the hidden leaf too.
    inner, alone = map(jax.tree.leaves, (masked_state.inner_state, alone_state))
    assert same(inner, alone)


@each_variant(fast=TELLING)
def test_under_multi_steps(name):
    tx: Any = optax.MultiSteps(VARIANTS[name].make(), every_k_schedule=2)
    update = jax.jit(tx.update)
    state, alone_state = tx.init(PARAMS), VARIANTS[name].make().init(PARAMS)
    for kind in ("small", "large", "one nan", "all nan"):
        first, state = update(GRADIENTS[kind], state, PARAMS)
        if kind in FINITE or VARIANTS[name].nonfinite != "same":
            assert not flat(first).any()  # Optax multiplies by 0, which NaN outlives.
        second, new_state = update(GRADIENTS[kind], state, PARAMS)
        assert signature(new_state) == signature(state)
        state = new_state
        alone, alone_state = _alone(name, alone_state, kind)
        np.testing.assert_allclose(flat(second), flat(alone), rtol=1e-6)
    assert state.inner_opt_state.record.total_count == 4
    assert len(ltd.metrics(state)) == len(ltd.metrics(alone_state))


def test_parameters_stay_finite_behind_the_guard():
    tx = optax.chain(ltd.clip_or_random_step(1.0, key=0), optax.adam(0.1))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *GRADIENTS.values())

    def step(carry, updates):
        params, state = carry
        updates, state = tx.update(updates, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, stacked))(
        (PARAMS, tx.init(PARAMS))
    )
    chex.assert_tree_all_finite(params)
    assert ltd.metrics(state)["clip_or_random_step/nonfinite_count"] == 5


def test_two_in_one_chain_take_their_own_part():
    tx = loose(
        optax.chain(ltd.nonfinite_random_step(5.0, key=0), ltd.clip_by_value(0.5))
    )
    updates, state = tx.update(GRADIENTS["one nan"], tx.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(abs(flat(updates)), 0.5)
    assert state[0].record.nonfinite_count == 1
    assert state[1].record.nonfinite_count == 0
    assert state[1].record.clipped_count == 1


def test_the_guard_is_the_chain_of_its_two_parts():
    guard = ltd.clip_or_random_step(2.0, key=3)
    parts = optax.chain(
        ltd.nonfinite_random_step(2.0, key=3), ltd.clip_by_global_norm(2.0)
    )
    state, parts_state = guard.init(PARAMS), parts.init(PARAMS)
    for updates in GRADIENTS.values():
        one, state = guard.update(updates, state)
        two, parts_state = parts.update(updates, parts_state)
        np.testing.assert_allclose(flat(one), flat(two), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("scale", ["ordinary", "huge"])
def test_the_norm_is_clipped_where_its_square_overflows(dtype, scale):
    size = 1e2 if dtype == jnp.float16 or scale == "ordinary" else 1e20
    updates = jnp.array([3 * size, 4 * size], dtype)
    tx = loose(ltd.clip_by_global_norm(1.0))
    new, state = tx.update(updates, tx.init(updates))
    precision = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.float64(new), [0.6, 0.8], rtol=1.5 * precision)
    np.testing.assert_allclose(state.record.norm, 5 * size, rtol=precision)


def test_a_threshold_far_below_a_small_gradient():
    tx = loose(ltd.clip_by_global_norm(1e-30))
    gradient = jnp.array([6e-21, 8e-21])
    clipped, _ = tx.update(gradient, tx.init(gradient))
    np.testing.assert_allclose(clipped, [6e-31, 8e-31], rtol=1e-6)


def test_tiny_gradients_are_clipped_to_a_tiny_norm():
    tx = loose(ltd.clip_by_global_norm(1e-31))
    new, state = tx.update(gradient(3e-30, 4e-30, 0, 0), tx.init(PARAMS))
    np.testing.assert_allclose(flat(new), [6e-32, 8e-32, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(state.record.scale, 0.02, rtol=1e-6)


def test_a_threshold_of_zero():
    for factory in (ltd.clip_by_value, ltd.clip_by_global_norm):
        tx = factory(0.0)
        for kind in FINITE:
            new, _ = tx.update(FINITE[kind], tx.init(PARAMS))
            assert not flat(new).any(), kind
