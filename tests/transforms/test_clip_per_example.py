"""Clipping each example's gradient, against the formula and at the ends."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optax_ltd as ltd
from tests.transforms.factories import INF, NAN, flat, loose, same

LARGEST = float(np.finfo(np.float32).max)


@jax.jit
def clip(updates: Any, max_norm: Any) -> Any:
    """One update from a fresh state: the mean, and the record of it."""
    tx = loose(ltd.clip_per_example(max_norm))
    mean, state = tx.update(updates, tx.init(None))
    return mean, state.record


@jax.jit
def mean_of_clipped(updates: Any, max_norm: Any) -> Any:
    """The mean alone, in a smaller program."""
    return clip(updates, max_norm)[0]


def batch(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Gradients of examples that differ in size a hundredfold."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-1, 1, count)
    shapes = {"a": (count, 2), "b": (count, 1, 3)}
    return {
        name: (random.normal(size=shape).T * sizes).T.astype(np.float32)
        for name, shape in shapes.items()
    }


def rows(updates: Any) -> np.ndarray:
    """One float64 vector an example."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(updates)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def clipped_rows(updates: Any, max_norm: float) -> np.ndarray:
    examples = rows(updates)
    norms = np.linalg.norm(examples, axis=1, keepdims=True)
    return examples * (max_norm / np.maximum(norms, max_norm))


@pytest.mark.parametrize("max_norm", [0.0, 0.3, 2.0, 1e9])
def test_the_mean_of_clipped_gradients(max_norm):
    updates = batch(5)
    mean, record = clip(updates, max_norm)
    assert {k: v.shape for k, v in mean.items()} == {"a": (2,), "b": (1, 3)}
    expected = clipped_rows(updates, max_norm).mean(axis=0)
    np.testing.assert_allclose(flat(mean), expected, rtol=1e-5, atol=1e-7 * max_norm)
    norms = np.linalg.norm(rows(updates), axis=1)
    np.testing.assert_allclose(record.norm, np.median(norms), rtol=1e-6)
    factors = max_norm / np.maximum(norms, max_norm)
    np.testing.assert_allclose(record.scale, factors.mean(), rtol=1e-6)
    share = np.mean(norms > max_norm)
    np.testing.assert_allclose(record.recent_clips[-1], share, rtol=1e-6)
    assert record.clipped_count == (share > 0)


def test_it_does_what_optax_does():
    updates = batch(5)
    clip_by_optax = jax.jit(optax.per_example_global_norm_clip)
    total, clipped = clip_by_optax(jax.tree.leaves(updates), 1.0)
    mean, record = clip(updates, 1.0)
    np.testing.assert_allclose(flat(mean), flat(total) / 5, rtol=1e-5)
    np.testing.assert_allclose(record.recent_clips[-1], clipped / 5, rtol=1e-6)


exponents = st.integers(-30, 30)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(exponents, min_size=3, max_size=3), exponents, st.integers(0, 99))
def test_sizes_from_one_end_to_the_other(sizes, exponent, seed):
    scales = 10.0 ** np.array(sizes)
    updates = {k: (v.T * scales).T.astype("f") for k, v in batch(3, seed).items()}
    max_norm = np.float32(10.0**exponent)
    mean, record = clip(updates, max_norm)
    clipped = clipped_rows(updates, float(max_norm))
    error = np.linalg.norm(flat(mean) - clipped.mean(axis=0))
    assert error <= 1e-6 * np.linalg.norm(clipped, axis=1).max() / 3
    norms = np.linalg.norm(rows(updates), axis=1)
    np.testing.assert_allclose(record.norm, np.median(norms), rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 61])
def test_a_mean_of_the_largest_numbers_does_not_overflow(count):
    updates = np.tile(np.array([[LARGEST, -LARGEST]], np.float32), (count, 1))
    mean = mean_of_clipped(updates, np.float32(INF))
    slack = 2e-7 * count  # of a sum of so many
    np.testing.assert_allclose(mean, updates[0], rtol=slack)


@pytest.mark.parametrize("max_norm", [1e-20, 1e-30])
def test_a_large_example_leaves_the_small_ones_their_size(max_norm):
    small = max_norm / 1e5
    updates = np.array([[LARGEST, 0], [0, small], [0, small]], np.float32)
    mean, _ = clip(updates, max_norm)
    np.testing.assert_allclose(mean, [max_norm / 3, 2 * small / 3], rtol=1e-6)


def test_many_small_examples():
    together = jax.jit(jax.vmap(mean_of_clipped))
    for transform, shape in ((mean_of_clipped, (100, 2)), (together, (1, 100, 2))):
        updates = np.full(shape, 1e-35, np.float32)
        mean = transform(updates, np.ones(shape[:-2], np.float32))
        np.testing.assert_allclose(np.ravel(mean), [1e-35, 1e-35], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    # In float16 the sum of the first column overflows, that of the second stalls.
    updates = np.tile(np.array([[60000, 1]], dtype), (4096, 1))
    mean, record = clip(updates, INF)
    assert mean.dtype == dtype
    assert same(mean, updates[0])
    assert record.norm.dtype == jnp.float32


def test_a_complex_example():
    mean = mean_of_clipped(np.array([[3 + 4j], [0.5j]], np.complex64), 1.0)
    np.testing.assert_allclose(mean, [0.3 + 0.65j], rtol=1e-6)


def test_the_record_of_batches():
    tx = loose(ltd.clip_per_example(2.5))
    state, update = tx.init(None), jax.jit(tx.update)
    for norms in ([1, 40, 2, 3], [1, 2, 2, 1], [1, NAN, 40, 1], [1, 1, 1, 3]):
        _, state = update(np.array(norms, np.float32)[:, None], state)
    seen = ltd.metrics(state)
    assert seen["clip_per_example/total_count"] == 4
    assert seen["clip_per_example/clipped_count"] == 2
    assert seen["clip_per_example/nonfinite_count"] == 1
    assert seen["clip_per_example/clipped_share"] == (2 / 4 + 0 + 1 / 4) / 3
    np.testing.assert_array_equal(state.record.recent_norms[-3:], [2, 1, 1])
    scale = (3 + 2.5 / 3) / 4
    np.testing.assert_allclose(seen["clip_per_example/scale"], scale, rtol=1e-6)


@pytest.mark.parametrize("fault", [INF, -INF, NAN])
def test_an_example_that_is_not_finite(fault):
    updates = batch(4)
    updates["b"][2, 0, 1] = fault
    mean, record = clip(updates, 0.1)
    expected = np.zeros(5)
    expected[3] = fault
    np.testing.assert_array_equal(
        np.where(np.isfinite(flat(mean)), 0, flat(mean)), expected
    )
    np.testing.assert_array_equal(record.norm, abs(fault))
    assert record.first_bad_leaf == 1
    assert record.nonfinite_count == 1
    assert record.clipped_count == 0


def test_the_path_of_what_is_not_finite():
    updates = batch(3)
    updates["a"][0] = NAN
    tx = loose(ltd.clip_per_example(1.0))
    _, state = jax.jit(tx.update)(updates, tx.init(None))
    with pytest.raises(FloatingPointError, match=r"Inf or NaN in \['a'\]"):
        ltd.raise_if_diverged(state, {"a": np.zeros(2), "b": np.zeros((1, 3))})


def test_one_example_is_the_global_norm():
    updates = batch(1)
    mean, record = clip(updates, 0.1)
    tx = loose(ltd.clip_by_global_norm(0.1))
    one = jax.tree.map(lambda leaf: leaf[0], updates)
    expected, state = jax.jit(tx.update)(one, tx.init(None))
    np.testing.assert_allclose(flat(mean), flat(expected), rtol=1e-6)
    np.testing.assert_allclose(record.norm, state.record.norm, rtol=1e-6)
    np.testing.assert_allclose(record.scale, state.record.scale, rtol=1e-6)


def test_no_example_is_a_zero_gradient():
    updates = {"a": np.zeros((0, 2), np.float32), "i": np.zeros((0, 3), np.int32)}
    mean, record = clip(updates, 1.0)
    assert same(mean, {"a": np.zeros(2, np.float32), "i": np.zeros(3, np.int32)})
    assert (record.norm, record.scale, record.nonfinite_count) == (0, 1, 0)


def test_leaves_without_a_mean_are_those_of_the_first_example():
    updates = {
        "counts": jnp.array([[5, 6], [7, 8]]),
        "float0": np.zeros((2, 3), jax.dtypes.float0),
        "masked": optax.MaskedNode(),
        "none": None,
        "on": jnp.array([True, False]),
        "weights": jnp.array([[3.0], [1.0]]),
    }
    tx = loose(ltd.clip_per_example(2.0))
    mean, state = tx.update(updates, tx.init(None))
    kept = {"counts": jnp.array([5, 6]), "on": jnp.array(True)}
    assert same({name: mean[name] for name in kept}, kept)
    assert (mean["float0"].shape, mean["float0"].dtype) == ((3,), jax.dtypes.float0)
    assert mean["masked"] == optax.MaskedNode()
    assert mean["none"] is None
    np.testing.assert_array_equal(mean["weights"], [1.5])
    assert state.record.norm == 1  # the lower of 3 and 1


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ({"a": np.ones(2), "b": [np.ones((3, 2))]}, r"2 for \['a'\] and 3 for \['b'\]"),
        ({"a": np.ones(2), "b": np.float32(1)}, r"a scalar for \['b'\]"),
        ({"a": np.ones(2), "b": np.int32(1)}, r"a scalar for \['b'\]"),
        (1.0, "a scalar for the only leaf"),
    ],
)
def test_leaves_must_share_an_axis_of_examples(updates, message):
    tx = loose(ltd.clip_per_example(1.0))
    with pytest.raises(ValueError, match=f"`updates` must have .*; got .*{message}"):
        jax.eval_shape(tx.update, updates, tx.init(None))


def test_gradients_that_are_no_examples_are_told_by_the_parameters():
    """A mean of square matrices would pass for examples, and spread over them."""
    params = {"a": np.ones((2, 2)), "b": [np.ones(2)]}
    examples = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), params)
    tx = loose(ltd.clip_per_example(1.0))
    message = r"`updates` must have .*; got shape \(2, 2\) for \['a'\], .* \(2, 2\)\."
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(tx.update, params, tx.init(params), params)
    update, _ = jax.eval_shape(tx.update, examples, tx.init(params), params)
    assert jax.tree.map(np.shape, update) == jax.tree.map(np.shape, params)


def test_the_mean_of_shards_is_that_of_the_whole():
    updates = batch(6)
    expected = clipped_rows(updates, 1.0).mean(axis=0)
    shards = jax.tree.map(lambda leaf: leaf.reshape(3, 2, *leaf.shape[1:]), updates)
    part = lambda shard: jax.lax.pmean(clip(shard, 1.0)[0], "data")
    means = jax.jit(jax.vmap(part, axis_name="data"))(shards)
    for mean in rows(means):
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_its_derivative_is_that_of_the_formula():
    updates = batch(4)
    for leaf in updates.values():
        leaf[1] = 0
    weights = {k: np.cos(np.arange(v[0].size, dtype="f")) for k, v in updates.items()}

    def plain(updates: Any, max_norm: Any) -> Any:
        square = jax.vmap(lambda tree: optax.tree.norm(tree, squared=True))(updates)
        above = square > max_norm**2
        norm = jnp.sqrt(jnp.where(above, square, 1))
        factors = jnp.where(above, max_norm / norm, 1)
        return jax.tree.map(lambda leaf: jnp.tensordot(factors, leaf, 1) / 4, updates)

    def slope(mean: Any) -> Any:
        def total(updates: Any, max_norm: Any) -> jax.Array:
            means = mean(updates, max_norm)
            products = jax.tree.map(lambda x, w: x.ravel() @ w, means, weights)
            return sum(jax.tree.leaves(products), jnp.zeros(()))

        return jax.jit(jax.grad(total))

    found, expected = slope(mean_of_clipped), slope(plain)
    for max_norm in (1.0, INF):
        np.testing.assert_allclose(
            flat(found(updates, max_norm)),
            flat(expected(updates, max_norm)),
            rtol=1e-4,
            atol=1e-6,
        )
