"""The random step: its norm, its directions, its keys."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.transforms.factories import (
    GRADIENTS,
    PARAMS,
    RANDOM,
    VARIANTS,
    flat,
    jitted_update,
    loose,
    same,
)

TREE = {
    "matrix": np.full((33, 7), np.nan, np.float32),
    "scalar": np.float32(1),
    "twin": np.ones((33, 7), np.float32),
    "vector": np.zeros(769, np.float32),
}


def _step(
    key: Any = 0,
    tree: Any = None,
    size: float = 2.0,
    direction: Any = "signs",
) -> Any:
    tree = TREE if tree is None else tree
    state = ltd.nonfinite_random_step(size, key=key).init(tree)
    return jax.device_get(_update(tree, state, np.float32(size), direction))


@functools.partial(jax.jit, static_argnames="direction")
def _update(tree: Any, state: Any, size: Any, direction: Any) -> Any:
    tx = loose(ltd.nonfinite_random_step(size, key=0, direction=direction))
    return tx.update(tree, state)[0]


@pytest.mark.parametrize("direction", ["signs", "sphere"])
@pytest.mark.parametrize("size", [0.0, 1e-20, 0.3, 1e20])
def test_the_norm_is_the_step_size(direction, size):
    norm = np.linalg.norm(flat(_step(size=size, direction=direction)))
    np.testing.assert_allclose(norm, size, rtol=1e-6)


@pytest.mark.parametrize("direction", ["signs", "sphere"])
def test_a_step_too_long_for_a_dtype_goes_as_far_as_that_reaches(direction):
    tree = {"half": np.full(3, np.nan, np.float16), "single": np.zeros(3, np.float32)}
    tx = loose(ltd.nonfinite_random_step(1e300, key=0, direction=direction))
    step = jax.jit(lambda tree: tx.update(tree, tx.init(tree))[0])(tree)
    entries = jax.tree.map(np.abs, jax.device_get(step))
    assert np.all(entries["half"] == np.finfo(np.float16).max)
    assert np.all(np.isfinite(entries["single"]))
    assert np.all(entries["single"] > 1e36)


def test_signs_have_one_size_and_are_balanced():
    entries = flat(_step())
    size = 2 / np.sqrt(entries.size)
    np.testing.assert_allclose(abs(entries), size, rtol=1e-7)
    # 1232 fair coins: four standard deviations are 70 heads either way.
    heads = np.sum(entries > 0)
    assert abs(heads - entries.size / 2) < 70
    # Neighbours agree as often as not, along rows and from word to word.
    for lag in (1, 7, 32):
        agree = np.sum(entries[lag:] * entries[:-lag] > 0)
        assert abs(agree - (entries.size - lag) / 2) < 70, lag


def test_the_sphere_is_centred_and_normal():
    entries = flat(_step(direction="sphere"))
    entries *= np.sqrt(entries.size) / 2
    assert abs(entries.mean()) < 4 / np.sqrt(entries.size)
    assert abs(np.mean(entries**4) - 3) < 4 * np.sqrt(96 / entries.size)


@pytest.mark.parametrize("name", RANDOM)
def test_each_step_has_its_own_direction(name):
    kind = "all nan" if VARIANTS[name].nonfinite == "random" else "large"
    update, gradient = jitted_update(name), GRADIENTS[kind]
    start = VARIANTS[name].make().init(PARAMS)
    state, seen = start, []
    for _ in range(64):
        new, state = update(gradient, state, PARAMS)
        seen.append(flat(new))
    cosines = np.array(seen) @ np.transpose(seen)
    for lag in range(1, 32):
        # Cosines in four dimensions have mean 0 and standard deviation 1/2.
        assert abs(np.diag(cosines, lag).mean()) < 4 * 0.5 / np.sqrt(64 - lag), lag
    again, _ = update(gradient, start, PARAMS)
    np.testing.assert_array_equal(flat(again), seen[0])


def test_leaves_of_one_shape_differ():
    step = _step()
    assert not same(step["matrix"], step["twin"])
    assert not same(step["matrix"], -step["twin"])


@pytest.mark.parametrize("direction", ["signs", "sphere"])
def test_leaves_of_other_shapes_differ(direction):
    step = _step(direction=direction)
    matrix, vector = step["matrix"].ravel(), step["vector"]
    assert abs(np.corrcoef(matrix, vector[: matrix.size])[0, 1]) < 0.3


def test_scalars_have_either_sign():
    signs = flat(_step(tree=[np.float32(np.nan)] * 40, size=1.0)) > 0
    assert 6 < signs.sum() < 34


def _raw(key: Any) -> Any:
    tx = loose(ltd.clip_or_random_step(1.0, key=key))
    return tx.init(PARAMS).key.tolist()


def test_one_key_in_every_form_gives_one_step():
    for key in (
        5,
        np.int32(5),
        np.array(5),
        jnp.array(5),
        jax.random.key(5, impl="threefry2x32"),
        jax.random.key_data(jax.random.key(5, impl="threefry2x32")),
        np.array([0, 5], np.uint32),
    ):
        assert _raw(key) == [0, 5], key


@pytest.mark.parametrize("seed", [0, 5, 2**31, 2**32 - 1, -1, -5, -(2**31)])
def test_a_seed_gives_the_key_of_jax(seed):
    for x64 in (False, True):
        with jax.enable_x64(x64):
            words = jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
            for form in (seed, np.int64(seed), np.array(seed)):
                assert _raw(form) == words.tolist(), (form, x64)


@pytest.mark.parametrize("seed", [2**32, 2**40, 2**63 - 1, -(2**40)])
def test_a_long_seed_keeps_all_its_bits(seed):
    with jax.enable_x64(True):
        words = jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
        assert _raw(jnp.array(seed)) == words.tolist()
    for form in (seed, np.int64(seed), np.array(seed)):
        assert _raw(form) == words.tolist(), form


@pytest.mark.parametrize("other", [6, -5, 2**40 + 5, 2**32 + 5, 10**30])
def test_other_keys_give_other_steps(other):
    assert _raw(other) != _raw(5)
    assert not same(_step(key=other), _step(key=5))


def test_keys_of_other_generators():
    keys = [jax.random.key(seed, impl="rbg") for seed in (0, 1)]
    assert _raw(keys[0]) != _raw(keys[1])
    words = np.array([[0, 1, 0, 0], [0, 1, 2, 0], [0, 1, 0, 2]], np.uint32)
    assert len({tuple(_raw(row)) for row in words}) == 3
    assert _raw(jax.random.key_data(keys[1])) == _raw(keys[1])


def test_the_state_keeps_raw_words_of_its_own():
    key = jnp.array([1, 2], jnp.uint32)
    tx = loose(ltd.clip_or_random_step(1.0, key=key))
    state = tx.init(PARAMS)
    assert (state.key.dtype, state.key.shape) == (jnp.uint32, (2,))
    state.key.delete()  # as `jax.jit` does where it is donated
    assert not key.is_deleted()


def test_an_ensemble_may_have_keys_of_its_own():
    tree = {"w": np.full(64, np.nan, np.float32)}

    def step(key):
        tx = loose(ltd.clip_or_random_step(1.0, key=key))
        return tx.update(tree, tx.init(tree))[0]["w"]

    steps = np.asarray(jax.jit(jax.vmap(step))(jax.random.split(jax.random.key(0), 3)))
    assert abs(np.triu(steps @ steps.T, 1)).max() < 0.5
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("direction", ["signs", "sphere"])
def test_a_complex_entry_counts_as_two(direction):
    tree = {"c": np.full((3, 2), np.nan, np.complex64), "r": np.zeros(4, np.float32)}
    step = _step(tree=tree, direction=direction)
    assert step["c"].dtype == jnp.complex64
    np.testing.assert_allclose(np.linalg.norm(flat(step)), 2, rtol=1e-6)
    if direction == "signs":
        np.testing.assert_allclose(abs(flat(step)), 0.5, rtol=1e-6)
    assert len(set(np.sign(step["c"].imag).ravel().tolist())) > 1


@pytest.mark.parametrize(
    ("dtype", "digits"), [(jnp.bfloat16, 8), (jnp.float16, 11), (jnp.float32, 23)]
)
def test_the_norm_is_exact_up_to_rounding(dtype, digits):
    # One entry, halfway between 1 and the next number: the largest error there is.
    halfway = 1 + float(jnp.finfo(dtype).eps) / 2
    entry = _step(tree=np.array([np.nan], dtype), size=halfway)
    np.testing.assert_allclose(abs(flat(entry)), halfway, rtol=2.0**-digits)
    tree = np.full(1237, np.nan, dtype)
    for size in (0.3, 1.0, 7.7):
        norm = np.linalg.norm(flat(_step(tree=tree, size=size)))
        np.testing.assert_allclose(norm, size, rtol=2.0**-digits)


@pytest.mark.parametrize("direction", ["signs", "sphere"])
def test_the_derivative_by_the_norm(direction):
    """Of ‖update‖², which is that norm squared, whether a step is drawn or not."""

    @jax.jit
    @jax.grad
    def derivative(norm: Any, gradient: Any) -> Any:
        tx = loose(ltd.clip_or_random_step(norm, key=0, direction=direction))
        return jnp.sum(tx.update(gradient, tx.init(gradient))[0] ** 2)

    for gradient in ([3.0, 4.0], [np.nan, 1.0]):
        found = derivative(np.float32(1.5), np.array(gradient, np.float32))
        np.testing.assert_allclose(found, 3, rtol=1e-6)


@pytest.mark.parametrize("direction", ["signs", "sphere"])
def test_a_shape_more_brings_no_loop_to_compile(direction):
    tx = loose(ltd.clip_or_random_step(1.0, key=0, direction=direction))

    def loops(shapes: int) -> int:
        tree = [np.zeros(n + 1, np.float32) for n in range(shapes)]
        program = jax.jit(tx.update).lower(tree, tx.init(tree)).as_text()
        return program.count("stablehlo.while")

    assert loops(5) == loops(2)


@pytest.mark.parametrize("direction", ["signs", "sphere"])
def test_one_entry(direction):
    step = _step(tree=np.array([np.inf], np.float32), direction=direction)
    # Length by norm and that by the entry are rounded one after the other.
    np.testing.assert_allclose(abs(step), 2, rtol=2.0**-23)


@pytest.mark.parametrize(
    ("dtype", "parts"),
    [(jnp.bfloat16, 2.0**-8), (jnp.float16, 2.0**-11), (jnp.float32, 4 * 2.0**-24)],
)
def test_a_clipped_norm_exceeds_the_threshold_by_rounding_alone(dtype, parts):
    tx = loose(ltd.clip_or_random_step(1.0, key=0))
    clip = jax.jit(lambda gradient: tx.update(gradient, tx.init(gradient))[0])
    rng = np.random.default_rng(0)
    for entries in rng.uniform(1, 3, (20, 3)):
        clipped = clip(entries.astype(dtype))
        np.testing.assert_allclose(np.linalg.norm(flat(clipped)), 1, rtol=parts)
