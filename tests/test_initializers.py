import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from optax_ltd import initializers

KEY = jax.random.key(0)


def radius(matrix) -> float:
    return np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()


@functools.cache
def sparse_matrices(num_nonzero: int, spectral_radius: float, size: int, count: int):
    init = initializers.sparse(num_nonzero, spectral_radius=spectral_radius)
    draw = jax.jit(jax.vmap(lambda key: init(key, (size, size))))
    return np.asarray(draw(jax.random.split(KEY, count)))


@pytest.mark.parametrize(
    ("num_nonzero", "wanted", "size"), [(15, 0.95, 50), (15, 1.1, 10), (1, 0.95, 4)]
)
def test_sparse_has_the_spectral_radius(num_nonzero, wanted, size):
    for matrix in sparse_matrices(num_nonzero, wanted, size, 50):
        assert radius(matrix) == pytest.approx(wanted, rel=1e-4)


def test_sparse_rows_hold_the_wanted_number_at_random_places():
    is_set = sparse_matrices(15, 0.95, 50, 50) != 0
    np.testing.assert_array_equal(is_set.sum(2), 15)
    np.testing.assert_allclose(is_set.mean(0), 15 / 50, atol=5 * 0.46 / np.sqrt(50))


def test_sparse_values_are_gaussian():
    matrices = sparse_matrices(15, 0.95, 50, 50)
    values = matrices[matrices != 0].reshape(50, -1)
    values /= values.std(1, keepdims=True)
    assert abs(values.mean()) < 0.03
    assert np.mean(values**4) == pytest.approx(3, abs=0.15)


def test_sparse_row_shorter_than_the_number_is_dense():
    assert (sparse_matrices(15, 1.1, 10, 50) != 0).all()


def test_identity():
    matrix = initializers.identity(0.5)(KEY, (3, 3), jnp.bfloat16)
    assert matrix.dtype == jnp.bfloat16
    np.testing.assert_array_equal(matrix.astype(float), 0.5 * np.eye(3))


def test_forget_gate_bias_acts_on_the_forget_gate_alone():
    cell = nnx.OptimizedLSTMCell(
        2, 3, bias_init=initializers.forget_gate_bias(3, 100.0), rngs=nnx.Rngs(0)
    )
    carry = (jnp.array([1.0, 2.0, 3.0]), jnp.zeros(3))
    (kept, _), _ = cell(carry, jnp.zeros(2))
    np.testing.assert_allclose(kept, carry[0], rtol=1e-6)


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
    with pytest.raises(ValueError, match="needs a square matrix, got shape"):
        init(KEY, shape)


def test_bias_vector_of_one_gate_is_refused():
    with pytest.raises(ValueError, match=r"shape \(12,\), got shape \(3,\)"):
        initializers.forget_gate_bias(3)(KEY, (3,))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="num_nonzero must be 1 or more, got 0"):
        initializers.sparse(0)
    with pytest.raises(ValueError, match="spectral_radius must be positive, got nan"):
        initializers.sparse(spectral_radius=float("nan"))
