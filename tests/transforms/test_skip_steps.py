"""A skipped step is none: no update, and no bit of the optimiser's state moves."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.slow import slow_but
from tests.transforms.factories import (
    GRADIENTS,
    NONFINITE,
    PARAMS,
    flat,
    gradient,
    loose,
    same,
    signature,
)
from tests.transforms.skipped_runs import after_norms, skips

SMALL = GRADIENTS["small"]


def _schedule(count: Any) -> Any:
    return 0.1 / (1 + count)


INNER = {
    "adam with a schedule": lambda: optax.adam(_schedule),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "noise": lambda: optax.add_noise(0.1, 0.5, key=jax.random.key(0)),
    "injected": lambda: optax.inject_hyperparams(optax.adam)(_schedule),
    "guarded": lambda: optax.chain(
        ltd.clip_or_random_step(0.1, key=0), optax.adam(0.1)
    ),
    "two points": lambda: optax.contrib.sam(
        optax.sgd(0.1), optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    ),
    "averaged": lambda: optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
}


@pytest.mark.parametrize("inner", slow_but(["noise", "injected", "guarded"], INNER))
def test_a_run_with_bad_steps_is_the_run_without_them(inner):
    """Bit for bit, in updates and inner states."""
    bare = loose(INNER[inner]())
    tx = loose(ltd.skip_steps(INNER[inner](), max_norm=1.0))
    update, bare_update = jax.jit(tx.update), jax.jit(bare.update)
    state, bare_state = tx.init(PARAMS), bare.init(PARAMS)
    good = [gradient(0.1 * i, -0.2, 0.3, 0.1) for i in range(4)]
    for i, bad in enumerate([None, "one nan", "large", "all nan"]):
        if bad:
            zero, skipped = update(GRADIENTS[bad], state, PARAMS)
            assert same(zero, jax.tree.map(np.zeros_like, PARAMS))
            assert same(_raw(skipped.inner_state), _raw(state.inner_state))
            state = skipped
        updates, state = update(good[i], state, PARAMS)
        expected, bare_state = bare_update(good[i], bare_state, PARAMS)
        np.testing.assert_allclose(flat(updates), flat(expected), rtol=1e-5)
    assert signature(_raw(state.inner_state)) == signature(_raw(bare_state))
    assert skips(state) == {"nonfinite": 2, "max_norm": 1}


def _raw(tree: Any) -> Any:
    """The tree with its typed keys as words."""
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def test_a_skipped_step_of_adam_moves_nothing():
    """As `fallback="zero"` before it does not."""
    good, bad = jnp.array([1.0, 1.0]), jnp.array([jnp.nan, 1.0])
    tx = loose(ltd.skip_steps(optax.adam(0.1)))
    _, before = tx.update(good, tx.init(good))
    updates, after = tx.update(bad, before)
    np.testing.assert_array_equal(updates, [0, 0])
    assert same(after.inner_state, before.inner_state)
    guard = ltd.nonfinite_random_step(fallback="zero")
    chain = loose(optax.chain(guard, optax.adam(0.1)))
    _, state = chain.update(good, chain.init(good))
    updates, _ = chain.update(bad, state)
    np.testing.assert_allclose(updates, [-0.067, -0.067], atol=1e-3)


def test_max_consecutive_takes_the_place_of_patience():
    tx = loose(ltd.skip_steps(optax.adam(0.1), max_consecutive=2))
    state = tx.init(PARAMS)
    for kind, lost in [("one nan", False), ("both", True), ("small", False)]:
        _, state = tx.update(GRADIENTS[kind], state, PARAMS)
        if lost:
            with pytest.raises(
                FloatingPointError, match=r"2 for nonfinite, .* update 1; .*\['a'\]"
            ):
                ltd.raise_if_diverged(state, PARAMS)
        else:
            ltd.raise_if_diverged(state, PARAMS)


def test_it_never_lets_a_bad_one_through():
    tx = ltd.skip_steps(optax.adam(0.1))
    updates, state = after_norms(tx, [1.0] + [np.nan] * 50)
    assert (updates[1:] == 0).all()
    metrics = ltd.metrics(state)
    assert metrics["skip_steps/skipped_run"] == 50
    assert metrics["skip_steps/last_skipped_update"] == 50


def test_the_last_skipped_update_stays_when_others_follow():
    tx = ltd.skip_steps(optax.adam(0.1), max_norm=2.0)
    for norms, expected in [([1.0], -1), ([1.0, 3.0, np.nan, 1.0, 5.0, 1.0], 4)]:
        _, state = after_norms(tx, norms)
        assert state.skips.last_skipped_update == expected


def test_without_nonfinite_the_inner_guard_has_its_part():
    guard = ltd.clip_or_random_step(1.0, key=0)
    tx = loose(ltd.skip_steps(guard, nonfinite=False, zscore=1.0, max_norm=20.0))
    state = tx.init(PARAMS)
    for kind in NONFINITE:
        updates, state = tx.update(GRADIENTS[kind], state, PARAMS)
        np.testing.assert_allclose(np.linalg.norm(flat(updates)), 1, rtol=1e-6)
    assert not skips(state)
    assert state.accepted.counts.tolist() == [0, 0]
    metrics = ltd.metrics(state)
    assert metrics["clip_or_random_step/nonfinite_count"] == len(NONFINITE)


def test_around_accumulation_a_bad_micro_batch_is_left_out():
    tx = ltd.skip_steps(optax.MultiSteps(optax.sgd(1.0), 4))
    gradients = [[1, 2, 3], [np.nan] * 3, [3, 2, 1], [2, 2, 2], [2, 2, 2]]
    update, state = jax.jit(tx.update), tx.init(jnp.zeros(3))
    seen = []
    for entries in gradients:
        updates, state = update(jnp.array(entries, jnp.float32), state)
        seen.append(updates.tolist())
    assert seen == [[0, 0, 0]] * 4 + [[-2, -2, -2]]
    assert skips(state) == {"nonfinite": 1}


def test_a_guard_inside_accumulation_works_behind_one_around():
    guard = ltd.clip_or_random_step(1.0, key=0)
    inner = optax.MultiSteps(optax.chain(guard, optax.sgd(0.1)), 2)
    tx = loose(ltd.skip_steps(inner))
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    for kind in ("small", "one nan", "small", "large", "large"):
        updates, state = update(GRADIENTS[kind], state, PARAMS)
    large = flat(GRADIENTS["large"])
    np.testing.assert_allclose(flat(updates), -0.1 * large / 13, rtol=1e-6)
    metrics = ltd.metrics(state)
    assert metrics["clip_or_random_step/nonfinite_count"] == 0
    assert metrics["clip_or_random_step/total_count"] == 2


def test_inside_accumulation_the_average_is_judged():
    """Two micro-batches that lie too far, of which the average does not; and one."""
    tx: Any = optax.MultiSteps(ltd.skip_steps(optax.adam(0.1), max_norm=10.0), 2)
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    for first in (30, -30, 30, 1):
        updates, state = update(gradient(first, 0, 0, 0), state, PARAMS)
    assert not flat(updates).any()
    assert skips(state) == {"max_norm": 1}
    assert state.inner_opt_state.inner_state[0].count == 1
    assert state.gradient_step == 2


def test_inside_accumulation_a_nan_stays():
    """Optax's sum keeps it; the documentation says to put the guard around."""
    tx: Any = optax.MultiSteps(ltd.skip_steps(optax.sgd(1.0)), 2)
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    for kind in ("one nan", "small", "small", "small"):
        _, state = update(GRADIENTS[kind], state, PARAMS)
    assert skips(state) == {"nonfinite": 2}
    assert np.isnan(flat(state.acc_grads)).any()


def test_a_value_that_is_no_scalar():
    tx = ltd.skip_steps(optax.sgd(0.1))
    for bad in (jnp.ones(2), 1j):
        with pytest.raises(ValueError, match=r"^`value` must be the loss, a real sc"):
            tx.update(SMALL, tx.init(PARAMS), PARAMS, value=bad)


def test_the_inner_transformation_meets_zeros_in_place_of_what_is_bad():
    seen = []
    spy = optax.stateless(lambda updates, _: seen.append(updates) or updates)
    tx = ltd.skip_steps(spy, max_norm=1.0)
    for kind in (*NONFINITE, "large"):
        tx.update(GRADIENTS[kind], tx.init(PARAMS))
    assert len(seen) == len(NONFINITE) + 1
    assert not np.concatenate([flat(updates) for updates in seen]).any()


def test_nothing_is_copied():
    """The moments are updated in place, as without the wrapper."""
    tx = ltd.skip_steps(optax.adam(0.1))
    params = jnp.ones((64, 64))

    def step(params, state, updates):
        updates, state = tx.update(updates, state, params)
        return optax.apply_updates(params, updates), state

    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(
        params, tx.init(params), params
    )
    program = lowered.compile().as_text()
    assert program is not None
    assert "f32[64,64]" in program
    assert not re.findall(r"f32\[64,64\]\S* copy\(", program)


def test_a_derivative_through_a_skipped_step_is_zero():
    inner = optax.chain(ltd.clip_by_global_norm(9.0), optax.scale_by_rss())
    tx = loose(ltd.skip_steps(inner))

    def total(updates):
        return jnp.sum(tx.update(updates, tx.init(updates))[0])

    slope = jax.jit(jax.grad(total))
    np.testing.assert_array_equal(slope(jnp.array([1.0, jnp.inf])), [0, 0])
    assert (slope(jnp.array([1.0, 3.0])) > 0).all()


def test_metrics_hold_the_inner_ones_too():
    inner = optax.named_chain(
        ("clip", ltd.clip_by_global_norm(1.0)), ("steps", optax.sgd(0.1))
    )
    tx = optax.chain(ltd.clip_by_value(9.0), ltd.skip_steps(ltd.skip_steps(inner)))
    names = [key.rpartition("/")[0] for key in ltd.metrics(tx.init(PARAMS))]
    found = list(dict.fromkeys(names))
    expected = ["clip_by_value", "skip_steps", "skip_steps_2"]
    assert found == [*expected, "clip/clip_by_global_norm"]


def test_parts_with_losses_of_their_own_skip_the_same_steps():
    tx: Any = ltd.skip_steps(optax.sgd(1.0), axis_name="parts")
    members, losses = jnp.ones((2, 3)), jnp.array([1.0, jnp.nan])

    def step(updates, loss):
        return tx.update(updates, tx.init(updates), value=loss)

    updates, state = jax.jit(jax.vmap(step, axis_name="parts"))(members, losses)
    assert not updates.any()
    assert state.skips.skipped_nonfinite.tolist() == [1, 1]


def test_in_a_jitted_step_of_a_flax_optimizer():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    tx = ltd.skip_steps(optax.adam(0.1), zscore=6.0, max_consecutive=1)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        loss, grads = nnx.value_and_grad(lambda model: jnp.mean(model(x) ** 2))(model)
        optimizer.update(model, grads, value=loss)
        return ltd.metrics(optimizer.opt_state)

    step(model, optimizer, jnp.ones((4, 2)))
    kernel = model.kernel[...]
    metrics = step(model, optimizer, jnp.full((4, 2), jnp.nan))
    assert metrics["skip_steps/skipped_nonfinite"] == 1
    np.testing.assert_array_equal(model.kernel[...], kernel)
    with pytest.raises(FloatingPointError, match=r"Inf or NaN in \.bias"):
        ltd.raise_if_diverged(optimizer.opt_state, model)


def test_bad_arguments():
    adam, skip = optax.adam(0.1), ltd.skip_steps
    bad: Any
    for bad in (None, 1.0, optax.adam, adam.update):
        with pytest.raises(ValueError, match="`inner` must be an Optax transformation"):
            skip(bad)
    for bad in (None, 1, "yes"):
        with pytest.raises(ValueError, match="`nonfinite` must be True or False; got"):
            skip(adam, nonfinite=bad)
    for name in ("zscore", "max_norm"):
        for bad in (-1, float("nan"), "1", np.ones(2)):
            with pytest.raises(ValueError, match=f"`{name}` must be .*number >= 0; go"):
                skip(adam, **{name: bad})
    for name, least in {"window": 2, "warmup": 2, "max_consecutive": 1}.items():
        for bad in (least - 1, 2.0, True, "3"):
            with pytest.raises(ValueError, match=f"`{name}` must be an int >= {least}"):
                skip(adam, **{name: bad})
    with pytest.raises(ValueError, match="`warmup` must be at most `window`, 4; got 5"):
        skip(adam, window=4, warmup=5)
