"""Bad arguments are refused by name, with what is required and what came."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.transforms.factories import loose, of_two

NUMBERS = {
    "max_delta": ltd.clip_by_value,
    "max_norm": ltd.clip_by_global_norm,
    "max_norm of clip_or_random_step": functools.partial(
        ltd.clip_or_random_step, key=0
    ),
    "max_norm with above": functools.partial(
        ltd.clip_by_global_norm, above="random_step", key=0
    ),
    "multiple": ltd.clip_by_average_norm,
    "multiple of clip_by_leaf_average_norm": ltd.clip_by_leaf_average_norm,
    "max_norm of clip_by_leaf_average_norm": ltd.clip_by_leaf_average_norm,
    "threshold": ltd.clip_by_norm_zscore,
    "max_norm of clip_by_norm_zscore": ltd.clip_by_norm_zscore,
    "max_norm of clip_per_example": lambda **given: of_two(
        ltd.clip_per_example(**given)
    ),
    "step_size": functools.partial(ltd.nonfinite_random_step, key=0),
    "shrink_rate": functools.partial(ltd.nonfinite_random_step, 1.0, key=0),
}
BAD_NUMBERS = [
    -1,
    -1e-9,
    float("nan"),
    float("-inf"),
    True,
    "1.0",
    None,
    1j,
    [1.0],
    np.bool_(True),
    np.float32(-1),
    np.array(-2),
    np.array([1.0]),
    jnp.array([1.0, 2.0]),
    jnp.array(True),
]
AT_MOST = {
    "decay": (functools.partial(ltd.clip_by_average_norm, 1.0), 1),
    "decay of clip_by_leaf_average_norm": (ltd.clip_by_leaf_average_norm, 1),
    "decay of clip_by_norm_zscore": (ltd.clip_by_norm_zscore, 1),
    "percentile": (ltd.clip_by_norm_percentile, 100),
}
COUNTS = {
    "warmup_steps": functools.partial(ltd.clip_by_average_norm, 1.0),
    "warmup_steps of clip_by_leaf_average_norm": ltd.clip_by_leaf_average_norm,
    "warmup_steps of clip_by_norm_zscore": ltd.clip_by_norm_zscore,
    "window_size": ltd.clip_by_norm_percentile,
}
KEYS = {
    "clip_by_global_norm": functools.partial(
        ltd.clip_by_global_norm, 1.0, above="random_step"
    ),
    "nonfinite_random_step": functools.partial(ltd.nonfinite_random_step, 1.0),
    "clip_or_random_step": functools.partial(ltd.clip_or_random_step, 1.0),
}
BAD_KEYS = [
    None,
    True,
    1.5,
    "0",
    (0, 1),
    jnp.zeros(2),
    jnp.zeros((2, 2), jnp.uint32),
    np.float32(1),
    np.zeros(1, np.uint32),
]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize("argument", NUMBERS)
def test_a_bad_number(argument, value):
    name = argument.split()[0]
    with pytest.raises(ValueError, match=f"`{name}` must be .*number >= 0; got "):
        NUMBERS[argument](**{name: value})


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize("argument", AT_MOST)
def test_a_number_outside_its_range(argument, value):
    name, (factory, end) = argument.split()[0], AT_MOST[argument]
    for bad in (value, float("inf"), end * 1.001, np.float32(end * 1.1)):
        with pytest.raises(ValueError, match=f"`{name}` must be a number from 0 to "):
            factory(**{name: bad})
    for good in (0, end, jnp.float32(end / 2), jnp.float32(2 * end)):
        factory(**{name: good})


@pytest.mark.parametrize("argument", COUNTS)
def test_a_bad_count(argument):
    name, factory = argument.split()[0], COUNTS[argument]
    for bad in (0, -1, 2.0, True, "3", None, np.array(3)):
        with pytest.raises(ValueError, match=f"`{name}` must be an int >= 1; got "):
            factory(**{name: bad})
    with pytest.raises(ValueError, match=f"`{name}` .* name it in `static_args`"):
        optax.inject_hyperparams(factory)().init(jnp.ones(1))


FINITE_NUMBERS = [
    name
    for name in NUMBERS
    if name.split()[0] in ("step_size", "shrink_rate")
    or name in ("max_norm of clip_or_random_step", "max_norm with above")
]


@pytest.mark.parametrize("argument", FINITE_NUMBERS)
def test_a_step_must_be_finite(argument):
    name = argument.split()[0]
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
        NUMBERS[argument](**{name: float("inf")})


@pytest.mark.parametrize("argument", sorted(set(NUMBERS) - set(FINITE_NUMBERS)))
def test_an_infinite_threshold_clips_nothing(argument):
    name = argument.split()[0]
    with_max_norm = ("threshold", "multiple of clip_by_leaf_average_norm")
    arguments = {"max_norm": float("inf")} if argument in with_max_norm else {}
    tx = loose(NUMBERS[argument](**{name: float("inf")}, **arguments))
    gradient = np.array([3e38, -3e38], np.float32)

    @jax.jit
    def update(gradient):
        update, state = tx.update(gradient, tx.init(gradient))
        return update, state.record.clipped_count

    kept, clipped_count = update(gradient)
    np.testing.assert_array_equal(kept, gradient)
    assert clipped_count == 0


@pytest.mark.parametrize(
    "value",
    [2, 2.0, np.int64(2), np.float16(2), np.array(2.0), jnp.array(2.0), jnp.array(2)],
    ids=repr,
)
def test_a_good_number(value):
    for argument, factory in NUMBERS.items():
        factory(**{argument.split()[0]: value})
    np.testing.assert_allclose(_clipped([6, 8], value), [1.2, 1.6], rtol=1e-6)


def test_a_very_large_python_int():
    clipped = _clipped([6e30, 8e30], 10**30)
    np.testing.assert_allclose(clipped, [6e29, 8e29], rtol=1e-6)


def _clipped(entries: list[float], max_norm: Any) -> Any:
    tx = loose(ltd.clip_by_global_norm(max_norm))
    clip = jax.jit(lambda gradient: tx.update(gradient, tx.init(None))[0])
    return clip(np.array(entries, np.float32))


def test_the_message_says_what_came():
    with pytest.raises(ValueError, match=re.escape("got '1.0' (str)")):
        ltd.clip_by_value("1.0")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=re.escape("shape (2,) and dtype float32")):
        ltd.clip_by_value(jnp.ones(2))


def test_a_schedule_is_sent_to_inject_hyperparams():
    with pytest.raises(ValueError, match=r"`max_norm` .*optax.inject_hyperparams"):
        ltd.clip_by_global_norm(lambda count: 1.0)  # pyright: ignore[reportArgumentType]


def test_values_of_arrays_never_raise():
    @jax.jit
    def update(threshold, gradient):
        tx = ltd.clip_by_global_norm(threshold)
        return tx.update(gradient, tx.init(gradient))[0]

    for threshold in (-1.0, float("nan"), 0.0, 1.0):
        assert update(threshold, jnp.array([3.0, 4.0])).shape == (2,)


@pytest.mark.parametrize("value", BAD_KEYS, ids=repr)
@pytest.mark.parametrize("factory", KEYS)
def test_a_bad_key(factory, value):
    with pytest.raises(ValueError, match="`key` must be an int or a PRNG key; got "):
        KEYS[factory](key=value)


@pytest.mark.parametrize(
    ("factory", "argument", "value"),
    [
        (functools.partial(ltd.clip_by_global_norm, 1.0), "above", "rescale"),
        (ltd.nonfinite_random_step, "fallback", "zero"),
        (ltd.nonfinite_random_step, "fallback", "shrink"),
    ],
)
def test_a_key_that_nothing_uses(factory, argument, value):
    message = (
        f"`key` must be left out with {argument}='{value}', which draws nothing; "
        "got 0 (int)."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        factory(key=0, **{argument: value})


@pytest.mark.parametrize("fallback", ["zero", "shrink"])
def test_a_fallback_that_is_not_random_needs_no_step_size(fallback):
    tx = loose(ltd.nonfinite_random_step(fallback=fallback))
    bad, params = np.array([[np.nan, 1], [50, 100]], np.float32)
    update, _ = jax.jit(tx.update)(bad, tx.init(bad), params)
    np.testing.assert_array_equal(update, [0, 0] if fallback == "zero" else [1, 2])
    with pytest.raises(
        ValueError, match=r"^`step_size` must be a finite number >= 0; "
    ):
        ltd.nonfinite_random_step(key=0)
    with pytest.raises(
        ValueError, match=r"^`step_size` must be a finite number >= 0; "
    ):
        ltd.nonfinite_random_step(-1.0, fallback=fallback)


@pytest.mark.parametrize(
    ("factory", "argument"),
    [
        (KEYS["clip_by_global_norm"], "above"),
        (KEYS["clip_by_global_norm"], "direction"),
        (KEYS["nonfinite_random_step"], "fallback"),
        (KEYS["nonfinite_random_step"], "direction"),
        (KEYS["clip_or_random_step"], "direction"),
    ],
)
@pytest.mark.parametrize("value", ["other", None, 1, ["signs"]], ids=repr)
def test_an_unknown_choice(factory, argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must be one of '.*; got "):
        factory(**{"key": 0, argument: value})


def test_shrink_needs_params_of_the_right_structure():
    tx = ltd.nonfinite_random_step(1.0, fallback="shrink")
    gradient = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"`params` must be given .*; got None"):
        tx.update(gradient, tx.init(gradient))
    with pytest.raises(ValueError, match=r"`params` must have the structure .* got "):
        tx.update(gradient, tx.init(gradient), {"v": jnp.ones(2)})


@pytest.mark.parametrize(
    "factory",
    [
        ltd.clip_by_value,
        ltd.clip_by_global_norm,
        lambda bound: ltd.clip_or_random_step(bound, key=0),
        lambda bound: ltd.clip_by_norm_zscore(max_norm=bound),
        lambda bound: of_two(ltd.clip_per_example(bound)),
    ],
    ids=["value", "norm", "guard", "zscore", "examples"],
)
def test_a_negative_array_does_not_turn_the_gradient_around(factory: Any) -> None:
    gradient = np.array([3, 4], np.float32)

    @jax.jit
    def update(bound):
        tx = factory(bound)
        update, state = tx.update(gradient, tx.init(gradient))
        return update, state.record.scale

    clipped, scale = update(np.float32(-1))
    assert np.all(np.asarray(clipped) == 0)
    assert scale == 0
