import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from optax_ltd import initializers
from tests.slow import slow_but

KEY = jax.random.key(0)
# Sums of 50 float32 products, squared again and again: some of their last digits.
ROUNDING = 50 * float(np.finfo(np.float32).eps)


def radius(matrix) -> float:
    return np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()


@functools.cache
def sparse_matrices(num_nonzero: int, spectral_radius: float, size: int, count: int):
    init = initializers.sparse(num_nonzero, spectral_radius=spectral_radius)
    draw = jax.jit(jax.vmap(lambda key: init(key, (size, size))))
    return np.asarray(draw(jax.random.split(KEY, count)))


@pytest.mark.parametrize(
    ("num_nonzero", "wanted", "size"),
    slow_but([(15, 0.95, 50)], [(15, 0.95, 50), (15, 1.1, 10), (1, 0.95, 4)]),
)
def test_sparse_has_the_spectral_radius(num_nonzero, wanted, size):
    for matrix in sparse_matrices(num_nonzero, wanted, size, 50):
        assert radius(matrix) == pytest.approx(wanted, rel=ROUNDING)


def test_sparse_rows_hold_the_wanted_number_at_random_places():
    is_set = sparse_matrices(15, 0.95, 50, 50) != 0
    np.testing.assert_array_equal(is_set.sum(2), 15)
    # Five standard deviations of the share of 50 draws with probability 15 / 50.
    deviation = np.sqrt(0.3 * 0.7 / 50)
    np.testing.assert_allclose(is_set.mean(0), 0.3, atol=5 * deviation)


def test_sparse_columns_hold_the_wanted_number_where_asked_to():
    """With Flax's kernels these are the weights that a unit receives."""
    init = initializers.sparse(3, spectral_radius=1.1, axis=0)
    matrix = jax.jit(lambda key: init(key, (10, 10)))(KEY)
    np.testing.assert_array_equal((matrix != 0).sum(0), 3)
    assert len({*np.asarray((matrix != 0).sum(1))}) > 1
    assert radius(matrix) == pytest.approx(1.1, rel=ROUNDING)


@pytest.mark.parametrize("axis", [-1, 2, 1.0, True, None])
def test_an_axis_that_cannot_be_is_named(axis: Any):
    with pytest.raises(ValueError, match=r"^`axis` must be an int from 0 to 1; got "):
        initializers.sparse(axis=axis)


def test_sparse_values_are_gaussian():
    matrices = sparse_matrices(15, 0.95, 50, 50)
    values = matrices[matrices != 0].reshape(50, -1)
    values /= values.std(1, keepdims=True)
    # Mean and fourth moment of n normal numbers of variance 1: five standard
    # deviations, which are 1 / sqrt(n) and sqrt(24 / n).
    assert abs(values.mean()) < 5 / np.sqrt(values.size)
    assert abs(np.mean(values**4) - 3) < 5 * np.sqrt(24 / values.size)


def test_sparse_row_shorter_than_the_number_is_dense():
    assert (sparse_matrices(15, 1.1, 10, 50) != 0).all()


def test_identity():
    matrix = initializers.identity(0.5)(KEY, (3, 3), jnp.bfloat16)
    assert matrix.dtype == jnp.bfloat16
    np.testing.assert_array_equal(matrix.astype(float), 0.5 * np.eye(3))


def test_forget_gate_bias_acts_on_the_forget_gate_alone():
    @jax.jit
    def one_step(carry, inputs):
        bias_init = initializers.forget_gate_bias(3, 100.0)
        cell = nnx.OptimizedLSTMCell(2, 3, bias_init=bias_init, rngs=nnx.Rngs(0))
        return cell(carry, inputs)

    carry = (np.array([1, 2, 3], np.float32), np.zeros(3, np.float32))
    (kept, _), _ = one_step(carry, np.zeros(2, np.float32))
    np.testing.assert_allclose(kept, carry[0], rtol=ROUNDING)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_dtype_is_the_one_asked_for(dtype):
    cases = [
        (initializers.sparse(), (5, 5)),
        (initializers.identity(), (5, 5)),
        (initializers.forget_gate_bias(5), (20,)),
    ]
    for init, shape in cases:
        assert jax.eval_shape(lambda i=init, s=shape: i(KEY, s, dtype)).dtype == dtype


@pytest.mark.parametrize("init", [initializers.sparse(), initializers.identity()])
@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 3)])
def test_shape_that_is_not_square_is_refused(init, shape):
    with pytest.raises(
        ValueError, match=r"^`shape` must be that of a square matrix; got "
    ):
        init(KEY, shape)


def test_bias_vector_of_one_gate_is_refused():
    with pytest.raises(ValueError, match=r"^`shape` must be \(12,\), .*; got \(3,\)\."):
        initializers.forget_gate_bias(3)(KEY, (3,))


NAN, INF = float("nan"), float("inf")
BAD = [True, "a", None, 1j, [1.0], NAN, INF, jnp.ones(2), jnp.array(True)]
COUNTS = {
    "num_nonzero": initializers.sparse,
    "hidden_features": initializers.forget_gate_bias,
}
NUMBERS = {
    "spectral_radius": initializers.sparse,
    "scale": initializers.identity,
    "value": functools.partial(initializers.forget_gate_bias, 3),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [*BAD, 0, -1, 2.5, 2.0], ids=repr)
def test_a_bad_count_is_named(name, count):
    with pytest.raises(ValueError, match=rf"^`{name}` must be an int >= 1; got "):
        COUNTS[name](**{name: count})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("number", BAD, ids=repr)
def test_a_bad_number_is_named(name, number):
    with pytest.raises(ValueError, match=rf"^`{name}` must be a finite number.*; got "):
        NUMBERS[name](**{name: number})


@pytest.mark.parametrize("radius", [0, -1.0])
def test_a_radius_that_is_not_positive_is_named(radius):
    message = rf"^`spectral_radius` must be a finite number > 0; got {radius} \("
    with pytest.raises(ValueError, match=message):
        initializers.sparse(spectral_radius=radius)


@pytest.mark.parametrize("two", [2, 2.0, np.int64(2), np.float16(2), jnp.array(2.0)])
def test_a_number_may_have_any_type(two):
    np.testing.assert_array_equal(initializers.identity(two)(KEY, (1, 1)), [[2]])
    traced = jax.jit(lambda scale: initializers.identity(scale)(KEY, (1, 1)))
    np.testing.assert_array_equal(traced(two), [[2]])
    one: Any = np.int64(1)
    init = initializers.forget_gate_bias(one, two)
    np.testing.assert_array_equal(init(KEY, (4,)), [0, 2, 0, 0])
