"""What holds for every transformation."""

import inspect
import typing
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.second_order.factories import VARIANTS as WITH_FUNCTIONS
from tests.transforms.factories import (
    FINITE,
    GRADIENTS,
    KINDS,
    NONFINITE,
    PARAMS,
    TRACES,
    VARIANTS,
    each_variant,
    flat,
    gradient,
    jitted_update,
    same,
    signature,
    warmed_state,
)

each_state = pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])


def _state(name: str, warm: bool) -> Any:
    return warmed_state(name) if warm else VARIANTS[name].make().init(PARAMS)


def test_the_table_lists_every_public_transformation():
    public = {
        name
        for name in ltd.__all__
        if inspect.isfunction(getattr(ltd, name))
        and inspect.signature(getattr(ltd, name)).return_annotation
        is optax.GradientTransformationExtraArgs
    }
    assert public
    listed = {variant.factory.__name__ for variant in VARIANTS.values()}
    # Here an update is a function of gradient, state and parameters. Those that want
    # more have a table, and a suite, of their own.
    others = {variant.factory.__name__ for variant in WITH_FUNCTIONS.values()}
    assert others == {name for name in public - listed if _takes_functions(name)}
    assert public == listed | others


def _takes_functions(name):
    return "predict" in inspect.signature(getattr(ltd, name)().update).parameters


def test_the_table_lists_every_choice():
    for factory in {variant.factory for variant in VARIANTS.values()}:
        calls = [v.arguments for v in VARIANTS.values() if v.factory is factory]
        parameters = inspect.signature(factory).parameters
        for name, hint in typing.get_type_hints(factory).items():
            if typing.get_origin(hint) is Literal:
                used = {call.get(name, parameters[name].default) for call in calls}
                assert used == set(typing.get_args(hint)), (factory, name)


@each_variant()
def test_a_factory_returns_the_kind_that_takes_extra_arguments(name):
    tx = VARIANTS[name].make()
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    state = tx.init(PARAMS)
    jax.eval_shape(lambda: tx.update(PARAMS, state, PARAMS, loss=jnp.ones(())))


@each_state
@each_variant()
def test_a_state_keeps_its_signature_and_the_update_that_of_the_gradient(name, warm):
    state = _state(name, warm)
    for updates in GRADIENTS.values():
        new_updates, new_state = jitted_update(name)(updates, state, PARAMS)
        assert signature(new_state) == signature(state)
        assert signature(new_updates) == signature(updates)


@each_variant()
def test_an_update_is_traced_once(name):
    for state in (_state(name, False), _state(name, True)):
        for updates in GRADIENTS.values():
            jitted_update(name)(updates, state, PARAMS)
    assert TRACES[name] == 1


@each_variant(fast=KINDS)
def test_an_ensemble_in_a_scan_is_the_loop_of_each_member(name):
    """Each member meets the gradients in an order of its own."""
    tx, kinds = VARIANTS[name].make(), np.arange(len(GRADIENTS))
    orders = [np.roll(kinds, shift) for shift in (0, 4, 8)]
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *GRADIENTS.values())
    runs = jax.tree.map(lambda leaf: leaf[np.array(orders)], stacked)

    @jax.jit
    @jax.vmap
    def scan(updates):
        step = lambda state, updates: tx.update(updates, state, PARAMS)[::-1]
        return jax.lax.scan(step, tx.init(PARAMS), updates)

    scanned_states, scanned = jax.device_get(scan(runs))
    for member, order in enumerate(orders):
        state = tx.init(PARAMS)
        for i, kind in enumerate(order):
            updates = jax.tree.map(lambda leaf, kind=kind: leaf[kind], stacked)
            looped, state = jitted_update(name)(updates, state, PARAMS)
            at = lambda leaf, i=i, member=member: leaf[member, i]
            assert same(looped, jax.tree.map(at, scanned))
        assert same(state, jax.tree.map(lambda x, m=member: x[m], scanned_states))


@each_state
@pytest.mark.parametrize("kind", ["small", "zero", "tiny", "faint", "subnormal"])
@each_variant()
def test_a_gradient_below_the_threshold_passes_bit_for_bit(name, kind, warm):
    if kind == "subnormal" and VARIANTS[name].examples:
        pytest.skip("a mean is arithmetic, which may flush what is subnormal")
    updates = {**FINITE, "subnormal": gradient(1e-40, -0.0, 1e-45, 0.5)}[kind]
    state = _state(name, warm)
    new_updates, new_state = jitted_update(name)(updates, state, PARAMS)
    assert same(new_updates, updates)
    assert new_state.record.scale == 1
    assert new_state.record.clipped_count == state.record.clipped_count


@pytest.mark.parametrize("kind", ["large", "huge", "beyond"])
@each_variant()
def test_a_gradient_above_the_threshold(name, kind):
    updates, above = FINITE[kind], VARIANTS[name].above
    state = warmed_state(name)
    new_updates, new_state = jitted_update(name)(updates, state, PARAMS)
    old, new = flat(updates), flat(new_updates)
    if above == "same":
        assert same(new_updates, updates)
    elif above == "skip":
        assert not new.any()
    elif above == "value":
        np.testing.assert_array_equal(new, np.clip(old, -1, 1))
    elif above == "norm":
        np.testing.assert_allclose(new, old / np.linalg.norm(old), rtol=1e-6)
    elif above == "adaptive":  # The test of each has a formula.
        assert 0.1 < np.linalg.norm(new) <= 13 * (1 + 1e-6)
        direction = new / np.linalg.norm(new)
        np.testing.assert_allclose(direction, old / np.linalg.norm(old), rtol=1e-6)
    elif above == "leaves":
        _each_leaf_is_clipped(updates, new_updates, 1.04 * state.averages)
    else:
        np.testing.assert_allclose(np.linalg.norm(new), 1, rtol=1e-6)
    scale = {"same": 1, "random": 0, "skip": 0, "value": 1 / abs(old).max()}
    scale["leaves"] = min(_ratio(new_updates[k], updates[k]) for k in updates)
    expected = scale.get(above, np.linalg.norm(new) / np.linalg.norm(old))
    # The reciprocal of the largest numbers is subnormal and may be flushed to 0.
    np.testing.assert_allclose(new_state.record.scale, expected, rtol=1e-6, atol=1e-37)
    clipped = new_state.record.clipped_count - state.record.clipped_count
    assert clipped == (above != "same" and not same(new_updates, updates))
    assert clipped or above == "same" or (above, kind) == ("adaptive", "large")
    assert new_state.record.nonfinite_count == state.record.nonfinite_count


def _each_leaf_is_clipped(updates, new_updates, limits):
    for old, new, limit in zip(
        updates.values(), new_updates.values(), limits, strict=True
    ):
        old = np.float64(old)
        expected = old * (float(limit) / np.linalg.norm(old))
        np.testing.assert_allclose(new, expected, rtol=1e-6)


def _ratio(new, old):
    return np.linalg.norm(np.float64(new)) / np.linalg.norm(np.float64(old))


@pytest.mark.parametrize("kind", NONFINITE)
@each_variant()
def test_a_gradient_that_is_not_finite(name, kind):
    updates, nonfinite = NONFINITE[kind], VARIANTS[name].nonfinite
    state = warmed_state(name)
    new_updates, new_state = jitted_update(name)(updates, state, PARAMS)
    new = flat(new_updates)
    if nonfinite == "same":  # A clip hides nothing: what is bad stays as bad.
        bad = ~np.isfinite(flat(updates))
        np.testing.assert_array_equal(new[bad], flat(updates)[bad])
    elif nonfinite == "random":
        np.testing.assert_allclose(np.linalg.norm(new), 1, rtol=1e-6)
    else:
        factor = {"zero": 0, "skip": 0, "shrink": np.float32(0.02)}[nonfinite]
        np.testing.assert_array_equal(new, np.float32(flat(PARAMS) * factor))
    record = new_state.record
    assert not np.isfinite(record.norm)
    assert record.scale == (1 if nonfinite == "same" else 0)
    assert record.clipped_count == state.record.clipped_count
    assert record.nonfinite_count == state.record.nonfinite_count + 1
    assert record.nonfinite_run == 1
    assert record.nan_count == state.record.nan_count + np.isnan(flat(updates)).any()
    assert record.last_bad_update == 3
    assert record.first_bad_leaf == (0 if ~np.isfinite(flat(updates["a"])).all() else 1)


@each_variant()
def test_the_record_counts(name):
    kinds = ["small", "one nan", "large", "both", "all nan", "one nan"]
    state = VARIANTS[name].make().init(PARAMS)
    runs, last_bad = [], []
    for kind in kinds:
        _, state = jitted_update(name)(GRADIENTS[kind], state, PARAMS)
        runs.append(int(state.record.nonfinite_run))
        last_bad.append(int(state.record.last_bad_update))
    assert runs == [0, 1, 0, 1, 2, 3]
    assert last_bad == [-1, 1, 1, 3, 4, 5]
    assert state.record.total_count == len(kinds)
    assert state.record.nonfinite_count == 4
    assert state.record.longest_nonfinite_run == 3
    assert state.record.clipped_count == (VARIANTS[name].above != "same")


@each_variant()
def test_a_count_stays_at_its_end(name):
    state = VARIANTS[name].make().init(PARAMS)
    end = jnp.full((), jnp.iinfo(jnp.int32).max, jnp.int32)
    record = state.record._replace(total_count=end, nonfinite_run=end)
    _, state = jitted_update(name)(
        NONFINITE["all nan"], state._replace(record=record), PARAMS
    )
    assert state.record.total_count == end
    assert state.record.nonfinite_run == end


@each_variant(fast=KINDS)
def test_the_derivative_at_zero_is_that_of_the_identity(name):
    tx = VARIANTS[name].make()
    state = tx.init(PARAMS)

    def total(updates):
        return sum(
            jnp.sum(x) for x in jax.tree.leaves(tx.update(updates, state, PARAMS)[0])
        )

    slope = jax.jit(jax.grad(total))(FINITE["zero"])
    np.testing.assert_array_equal(flat(slope), np.ones(4))


@each_variant()
def test_a_state_shares_nothing_and_takes_nothing_with_it(name):
    """When it is deleted, that is, as `jax.jit` deletes one that is donated."""
    tx = VARIANTS[name].make()
    first, second = tx.init(PARAMS), tx.init(PARAMS)
    leaves = jax.tree.leaves((first, second))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)
    _, after = jitted_update(name)(GRADIENTS["large"], second, PARAMS)
    leaves = jax.tree.leaves(after)
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)
    jax.tree.map(lambda leaf: leaf.delete(), first)
    alive = (second, after, tx.init(PARAMS))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(alive))


@each_variant(fast=("clip_by_norm_zscore", "clip_or_random_step"))
def test_a_donated_state_survives(name):
    tx = VARIANTS[name].make()
    first, second = tx.init(PARAMS), tx.init(PARAMS)

    def step(params, state, updates):
        updates, state = tx.update(updates, state, params)
        return optax.apply_updates(params, updates), state

    donated = jax.jit(step, donate_argnums=(0, 1))
    params, state = jax.tree.map(jnp.copy, PARAMS), first
    for updates in GRADIENTS.values():
        params, state = donated(params, state, updates)
    assert first.record.total_count.is_deleted()
    alive = (state, second, tx.init(PARAMS))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(alive))


@each_variant()
def test_an_update_lowers_for_every_platform(name):
    tx = VARIANTS[name].make()
    exported = jax.export.export(jax.jit(tx.update), platforms=["cpu", "cuda", "tpu"])(
        PARAMS, tx.init(PARAMS), PARAMS
    )
    assert len(exported.platforms) == 3
