"""Schedules of the momentum, and what Optax's Nesterov momentum makes of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd

KINDS = ("hold", "rise")
each_kind = pytest.mark.parametrize("kind", KINDS)


def equation_5(t: int, most: float) -> float:
    return min(1 - 2 ** (-1 - np.log2(t // 250 + 1)), most)


@pytest.mark.parametrize("most", [0.0, 0.9, 0.995, 0.999])
def test_rising_is_equation_5(most: float):
    counts = np.array([0, 1, 249, 250, 499, 500, 5000, 49_999, 750_000])
    made = jax.jit(ltd.momentum_schedule(most, kind="rise"))(counts)
    expected = [equation_5(int(t), most) for t in counts]
    np.testing.assert_allclose(made, expected, rtol=3e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.98, 0.995])
def test_holding_changes_after_a_thousand_updates(momentum: float):
    made = ltd.momentum_schedule(momentum)(np.array([0, 999, 1000, 10**9]))
    np.testing.assert_allclose(made, [0.9, 0.9, momentum, momentum], rtol=1e-7)


def test_beginning_and_pace_may_be_others():
    given: Any = {"first_momentum": 0.2, "steps": 3}
    counts = np.arange(9)
    held = ltd.momentum_schedule(0.5, **given)(counts)
    np.testing.assert_allclose(held, 3 * [0.2] + 6 * [0.5], rtol=1e-7)
    risen = ltd.momentum_schedule(0.7, kind="rise", **given)(counts)
    # 1 - 0.8 / n
    np.testing.assert_allclose(risen, 3 * [0.2] + 3 * [0.6] + 3 * [0.7], rtol=1e-6)


@each_kind
def test_a_schedule_lowers_for_every_platform(kind: Any):
    schedule = jax.jit(ltd.momentum_schedule(0.995, kind=kind))
    exported = jax.export.export(schedule, platforms=["cpu", "cuda", "tpu"])(
        jnp.array(0)
    )
    assert len(exported.platforms) == 3


@each_kind
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint32, np.int32])
@pytest.mark.parametrize("steps", [1, 1000])
def test_any_dtype_of_counts(kind: Any, dtype: Any, steps: int):
    count = np.array(np.iinfo(dtype).max, dtype)
    schedule = ltd.momentum_schedule(0.7, kind=kind, first_momentum=0.2, steps=steps)
    expected = 0.7 if steps == 1 or count > steps else 0.2
    np.testing.assert_allclose(schedule(jnp.asarray(count)), expected, rtol=1e-6)


@each_kind
def test_momenta_that_are_integers_make_a_float(kind: Any):
    zero = jnp.int32(0)
    made = ltd.momentum_schedule(zero, kind=kind, first_momentum=zero)(0)
    assert made == 0
    assert jnp.asarray(made).dtype == jnp.float32


@each_kind
@pytest.mark.parametrize("wide", [False, True])
def test_it_is_the_same_under_every_transformation(kind: Any, wide: bool):
    counts = np.array([0, 250, 999, 1000, 2**31 - 1], np.int32)
    with jax.enable_x64(wide):
        schedule = ltd.momentum_schedule(0.995, kind=kind)
        alone = np.array([schedule(int(count)) for count in counts])
        _, scanned = jax.lax.scan(lambda _, t: (None, schedule(t)), None, counts)
        mapped = jax.jit(jax.vmap(schedule))(counts)
        swept = jax.vmap(lambda m: ltd.momentum_schedule(m, kind=kind)(5000))(
            np.array([0.3, 0.995])
        )
    assert mapped.dtype == (np.float64 if wide else np.float32)
    np.testing.assert_array_equal(scanned, alone)
    np.testing.assert_array_equal(mapped, alone)
    np.testing.assert_allclose(swept, [0.3, min(0.995, alone[-1])], atol=0.02)


def test_it_is_injected_once_traced_and_legal_in_a_scan():
    tx = optax.inject_hyperparams(optax.sgd)(
        learning_rate=0.1, momentum=ltd.momentum_schedule(0.5, steps=2), nesterov=True
    )
    params = jnp.ones(2)

    def update(state: Any, _: None) -> Any:
        state = tx.update(params, state, params)[1]
        return state, state.hyperparams["momentum"]

    _, used = jax.jit(lambda: jax.lax.scan(update, tx.init(params), length=4))()
    np.testing.assert_allclose(used, [0.9, 0.9, 0.5, 0.5], rtol=1e-7)
    assert used.dtype == np.float32


def test_in_bfloat16_it_keeps_its_distance_from_1_as_documented():
    sgd = optax.inject_hyperparams(
        optax.sgd, static_args="accumulator_dtype", hyperparam_dtype=jnp.float32
    )
    tx = sgd(
        learning_rate=0.1,
        momentum=ltd.momentum_schedule(0.999, steps=1),
        accumulator_dtype=jnp.float32,
    )
    params = jnp.ones(2, jnp.bfloat16)

    def update(state: Any, _: None) -> Any:
        state = tx.update(params, state, params)[1]
        return state, state.hyperparams["momentum"]

    _, used = jax.jit(lambda: jax.lax.scan(update, tx.init(params), length=2))()
    np.testing.assert_allclose(used, [0.9, 0.999], rtol=1e-7)


@pytest.mark.parametrize("name", ["momentum", "first_momentum"])
@pytest.mark.parametrize("value", [-0.1, 1, 1.5, float("nan"), True, "0.9", [0.9]])
def test_a_momentum_that_cannot_be_is_named(name: str, value: Any):
    given: Any = {"momentum": 0.9, name: value}
    with pytest.raises(ValueError, match=rf"^`{name}` must be a number >= 0 and < 1;"):
        ltd.momentum_schedule(**given)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, "3", 2**31])
def test_steps_that_cannot_be_are_named(steps: Any):
    with pytest.raises(ValueError, match=r"^`steps` must be an int from 1 to "):
        ltd.momentum_schedule(0.9, steps=steps)


def test_a_kind_that_cannot_be_is_named():
    kind: Any = "fall"
    with pytest.raises(ValueError, match=r"^`kind` must be one of 'hold', 'rise'; got"):
        ltd.momentum_schedule(0.9, kind=kind)
