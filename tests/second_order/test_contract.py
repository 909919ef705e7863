"""What holds for every transformation, of those that take functions."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import serialization

import optax_ltd as ltd
from optax_ltd._second_order.search_record import SearchRecord
from tests.second_order.factories import (
    TRACES,
    VARIANTS,
    functions,
    gradient_of_loss,
    jitted_update,
    warmed_state,
)
from tests.slow import slow_but
from tests.transforms.factories import (
    FINITE,
    GRADIENTS,
    NONFINITE,
    PARAMS,
    flat,
    same,
    signature,
)
from tests.transforms.test_metrics import FIELDS

each_variant = pytest.mark.parametrize("name", VARIANTS)
one_of_each = pytest.mark.parametrize("name", slow_but(("hessian_free",), VARIANTS))


@each_variant
def test_a_factory_returns_the_kind_that_takes_extra_arguments(name: str):
    tx = VARIANTS[name].make()
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    given = {**functions(name), "value": jnp.ones(()), "other": None}
    state = tx.init(PARAMS)
    jax.eval_shape(lambda: tx.update(PARAMS, state, PARAMS, **given))


@each_variant
def test_signatures_stay_and_steps_are_finite_after_one_trace(name: str):
    for state in (VARIANTS[name].make().init(PARAMS), warmed_state(name)):
        for updates in GRADIENTS.values():
            step, new = jitted_update(name)(updates, state, PARAMS)
            assert signature(new) == signature(state)
            assert signature(step) == signature(updates)
            assert np.isfinite(flat(step)).all()
            assert np.isfinite(flat(new.solution)).all()
            assert (new.record.scale == 0) == (not flat(step).any())
    assert TRACES[name] == 1


@one_of_each
def test_an_ensemble_in_a_scan_is_the_loop_of_each_member(name: str):
    """Members stop at different iterations, and one has a gradient with a NaN."""
    tx, given = VARIANTS[name].make(), functions(name)
    starts = jax.tree.map(lambda x: jnp.stack([x, -x, 0.1 * x]), PARAMS)
    spoilt = jnp.array([[1, 1, 1], [1, jnp.nan, 1], [1, 1, -1.0]])

    def step(carry: Any, factor: jax.Array) -> Any:
        params, state = carry
        updates = jax.tree.map(lambda x: factor * x, gradient_of_loss(params))
        updates, state = tx.update(updates, state, params, **given)
        return (optax.apply_updates(params, updates), state), updates

    @jax.jit
    @jax.vmap
    def scan(params: Any, factors: jax.Array) -> Any:
        return jax.lax.scan(step, (params, tx.init(params)), factors)

    (params, states), _ = jax.device_get(scan(starts, spoilt))
    assert states.search.refused_nonfinite.tolist() == [0, 1, 0]
    assert states.search.refused_no_decrease.tolist() == [0, 0, 1]
    alone = jax.jit(step)
    for member in range(3):
        carry: Any = jax.tree.map(lambda x, m=member: x[m], starts)
        carry = (carry, tx.init(carry))
        for factor in spoilt[member]:
            carry, _ = alone(carry, factor)
        together = jax.tree.map(lambda x, m=member: x[m], (params, states))
        for x, y in zip(*map(_numbers, (carry, together)), strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-5)


def _numbers(carry: Any) -> list[jax.Array]:
    """What does not hang on the last digit, as do the counts of two loops."""
    params, state = carry
    search = state.search._asdict()
    for name in ("cg_iterations", "loss_evaluations"):
        search.pop(name)
    return jax.tree.leaves((params, state.solution, state.record, search))


@each_variant
def test_the_record_counts(name: str):
    state = VARIANTS[name].make().init(PARAMS)
    good = gradient_of_loss()
    for updates in (good, NONFINITE["one nan"], jax.tree.map(jnp.negative, good)):
        _, state = jitted_update(name)(updates, state, PARAMS)
    record, search = state.record, state.search
    assert (record.total_count, record.clipped_count, record.nonfinite_count) == (
        3,
        1,
        1,
    )
    assert (search.refused_nonfinite, search.refused_no_decrease) == (1, 1)
    assert (record.first_bad_leaf, record.last_bad_update) == (1, 1)


@each_variant
def test_a_count_stays_at_its_end(name: str):
    state = VARIANTS[name].make().init(PARAMS)
    end = jnp.full((), jnp.iinfo(jnp.int32).max, jnp.int32)
    search = state.search._replace(refused_nonfinite=end)
    record = state.record._replace(total_count=end)
    state = state._replace(search=search, record=record)
    _, state = jitted_update(name)(NONFINITE["all nan"], state, PARAMS)
    assert state.record.total_count == state.search.refused_nonfinite == end


@each_variant
def test_a_state_shares_nothing_and_takes_nothing_with_it(name: str):
    tx = VARIANTS[name].make()
    first, second = tx.init(PARAMS), tx.init(PARAMS)
    leaves = jax.tree.leaves((first, second))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)
    _, after = jitted_update(name)(FINITE["large"], second, PARAMS)
    jax.tree.map(lambda leaf: leaf.delete(), first)
    alive = (second, after, tx.init(PARAMS), PARAMS)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(alive))


@one_of_each
def test_a_donated_state_survives(name: str):
    tx, given = VARIANTS[name].make(), functions(name)
    first, second = tx.init(PARAMS), tx.init(PARAMS)

    def step(params: Any, state: Any) -> Any:
        updates, state = tx.update(gradient_of_loss(params), state, params, **given)
        return optax.apply_updates(params, updates), state

    donated = jax.jit(step, donate_argnums=(0, 1))
    params, state = jax.tree.map(jnp.copy, PARAMS), first
    for _ in range(2):
        params, state = donated(params, state)
    assert first.record.total_count.is_deleted()
    alive = (params, state, second, tx.init(PARAMS), PARAMS)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(alive))


WRAPPERS = {
    "MultiSteps": lambda tx: optax.MultiSteps(tx, every_k_schedule=1),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "multi_transform": lambda tx: optax.multi_transform(
        {"all": tx}, jax.tree.map(lambda _: "all", PARAMS)
    ),
    "skip_steps": lambda tx: ltd.skip_steps(tx),
}


@pytest.mark.parametrize("wrapper", slow_but(("skip_steps",), WRAPPERS))
def test_a_wrapper_hands_the_functions_on(wrapper: str):
    name = "hessian_free-structural"
    tx: Any = WRAPPERS[wrapper](VARIANTS[name].make())
    update = jax.jit(lambda g, s: tx.update(g, s, PARAMS, **functions(name)))
    step, _ = update(gradient_of_loss(), tx.init(PARAMS))
    state = VARIANTS[name].make().init(PARAMS)
    expected, _ = jitted_update(name)(gradient_of_loss(), state, PARAMS)
    np.testing.assert_allclose(flat(step), flat(expected), rtol=1e-4)


@each_variant
def test_an_update_lowers_for_every_platform(name: str):
    tx, given = VARIANTS[name].make(), functions(name)
    update = jax.jit(lambda *args: tx.update(*args, **given))
    exported = jax.export.export(update, platforms=["cpu", "cuda", "tpu"])(
        PARAMS, tx.init(PARAMS), PARAMS
    )
    assert len(exported.platforms) == 3


@each_variant
def test_metrics_tell_of_gradients_and_of_the_search(name: str):
    state = warmed_state(name)
    metrics = ltd.metrics((optax.EmptyState(), {"x": state}))
    fields = [*FIELDS, *SearchRecord._fields]
    assert list(metrics) == [f"x/hessian_free/{field}" for field in fields]
    for field, value in state.search._asdict().items():
        assert metrics[f"x/hessian_free/{field}"] is value


@one_of_each
def test_a_state_is_saved_and_restored(name: str, tmp_path: Any):
    state, blank = warmed_state(name), VARIANTS[name].make().init(PARAMS)
    restored = serialization.from_bytes(blank, serialization.to_bytes(state))
    assert same(jax.tree.map(np.asarray, state), restored)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        assert same(checkpointer.restore(tmp_path / "state", target), state)


def test_the_table_lists_every_choice():
    factory = ltd.hessian_free
    parameters = inspect.signature(factory).parameters
    calls = [v.arguments for v in VARIANTS.values()]
    default = parameters["hidden_distance"].default
    used = {call.get("hidden_distance", default) for call in calls}
    assert used == {"squared", "cross_entropy"}
