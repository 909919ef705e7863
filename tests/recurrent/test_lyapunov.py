"""Lyapunov exponents against maps where they are known, and against determinants."""

from typing import Any

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.recurrent.cells import B, F, H, case

# Two real eigenvalues and a pair that turns, in a basis far from orthogonal.
NORMAL = np.diag([1.3, 0.8 * np.cos(0.7), 0.8 * np.cos(0.7), 0.3])
NORMAL[1, 2], NORMAL[2, 1] = -0.8 * np.sin(0.7), 0.8 * np.sin(0.7)
BASIS = np.eye(4) + np.triu(np.full((4, 4), 1.5), 1)
W = np.linalg.inv(BASIS) @ NORMAL @ BASIS
Q = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]


def linear(W: Any, h: Any, x: Any) -> Any:
    return h @ W, x


_compiled = jax.jit(
    ltd.lyapunov_exponents,
    static_argnums=0,
    static_argnames=("length", "num_exponents", "warmup", "qr_every"),
)


def spectrum(cell: Any, *trees: Any, **options: Any) -> np.ndarray:
    """Compiled once a cell; in NumPy, for it may leave the scope of float64."""
    return np.asarray(_compiled(cell, *trees, **options))


def of_linear(W: Any, steps: int = 5, **options: Any) -> np.ndarray:
    W = W.astype(jax.dtypes.canonicalize_dtype(W.dtype))
    start, inputs = np.zeros((1, len(W)), W.dtype), np.zeros((steps, 1), np.float32)
    return spectrum(linear, W, start, inputs, **options)[0]


def mean_log_det(cell: Any, params: Any, carry: Any, inputs: Any) -> jax.Array:
    """The sum of all exponents of each example, from whole Jacobians."""

    def of_one(carry: Any, inputs: Any) -> jax.Array:
        flat, unravel = jax.flatten_util.ravel_pytree(carry)

        def step(flat: Any, x: Any) -> Any:
            batch = jax.tree.map(lambda leaf: leaf[None], unravel(flat))
            new, _ = cell(params, batch, x[None])
            return jax.flatten_util.ravel_pytree(new)[0]

        def body(flat: Any, x: Any) -> Any:
            return step(flat, x), jnp.linalg.slogdet(jax.jacfwd(step)(flat, x))[1]

        return jnp.mean(jax.lax.scan(body, flat, inputs)[1])

    return jax.jit(jax.vmap(of_one, (0, 1)))(carry, inputs)


@pytest.mark.parametrize("qr_every", [1, 7])
def test_linear_map_has_the_logarithms_of_its_eigenvalues(qr_every: int):
    with jax.enable_x64(True):
        found = of_linear(W, 500, warmup=100, qr_every=qr_every)
    chex.assert_type(found, np.float64)
    np.testing.assert_allclose(found[::3], np.log([1.3, 0.3]), rtol=1e-9)
    # Of the pair only the mean settles.
    np.testing.assert_allclose(found[1:3], np.log(0.8), atol=0.01)
    np.testing.assert_allclose(found.sum(), np.log(1.3 * 0.8**2 * 0.3), rtol=1e-9)


def test_some_exponents_are_the_largest():
    some = of_linear(W, 200, warmup=100, num_exponents=2)
    chex.assert_shape(some, (2,))
    np.testing.assert_allclose(some[0], np.log(1.3), rtol=1e-5)
    np.testing.assert_allclose(some[1], np.log(0.8), atol=0.02)
    # Neither lies in a subspace that the map keeps to itself.
    (one,) = of_linear(np.diag([0.5, 2.0]), 100, warmup=50, num_exponents=1)
    np.testing.assert_allclose(one, np.log(2), rtol=1e-5)


def test_orthogonal_map_has_zeros_from_the_first_step():
    np.testing.assert_allclose(of_linear(Q, 20), np.zeros(4), atol=1e-6)


def test_growth_before_the_end_of_the_warmup_does_not_count():
    def cell(p: Any, h: Any, x: Any) -> Any:
        return h * x[:, None], None

    inputs = np.asarray([[5.0], [7.0], [2.0], [3.0]])
    for qr_every, warmup, product in ((1, 2, 6), (3, 2, 6), (4, 0, 210), (9, 3, 3)):
        found = spectrum(
            cell, (), np.ones((1, 1)), inputs, warmup=warmup, qr_every=qr_every
        )
        np.testing.assert_allclose(found, np.log(product) / (4 - warmup), rtol=1e-6)


def test_henon_map():
    """0.41922 and -1.62319, Sprott, *Chaos and Time-Series Analysis*, 2003."""

    def henon(p: Any, h: Any, x: Any) -> Any:
        u, v = h
        return (1 - p["a"] * u**2 + v, p["b"] * u), u

    with jax.enable_x64(True):
        found = spectrum(
            henon,
            {"a": 1.4, "b": 0.3},
            (np.asarray([0.1, 0.4]), np.zeros(2)),
            np.zeros((100_000, 2)),
            warmup=100,
        )
    np.testing.assert_allclose(found, [[0.41922, -1.62319]] * 2, atol=5e-3)
    np.testing.assert_allclose(found.sum(axis=1), np.log(0.3), rtol=1e-12)


def test_logistic_map_doubles_what_is_small():
    """At r = 4 it is conjugate to the tent map, whose slope is 2 everywhere."""

    def logistic(r: Any, h: Any, x: Any) -> Any:
        return r * h * (1 - h), h

    with jax.enable_x64(True):
        found = spectrum(logistic, 4.0, np.full((1, 1), 0.3), np.zeros((20_000, 1)))
    np.testing.assert_allclose(found, np.log(2), atol=2e-3)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_sum_is_that_of_the_determinants_of_each_example(name: str):
    cell, _, params, carry, inputs = case(name)
    found = spectrum(cell, params, carry, inputs)
    chex.assert_shape(found, (B, 2 * H if name == "lstm" else H))
    assert np.all(found[:, :-1] >= found[:, 1:])
    expected = mean_log_det(cell, params, carry, inputs)
    np.testing.assert_allclose(found.sum(axis=1), expected, rtol=1e-4)
    assert np.ptp(expected) > 0.1


def test_examples_do_not_depend_on_one_another():
    cell, _, params, carry, inputs = case("lstm")
    together = spectrum(cell, params, carry, inputs)
    last = jax.tree.map(lambda x: np.asarray(x)[-1:], carry)
    alone = spectrum(cell, params, last, np.asarray(inputs)[:, -1:])
    np.testing.assert_allclose(together[-1:], alone, rtol=1e-4)


@pytest.mark.parametrize(
    "cell_type", [nnx.GRUCell, pytest.param(nnx.LSTMCell, marks=pytest.mark.slow)]
)
def test_flax_cells(cell_type: Any):
    cell = cell_type(F, H, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(cell)

    def cell_fn(params: Any, carry: Any, x: Any) -> Any:
        return nnx.merge(graphdef, params)(carry, x)

    carry, inputs = case("lstm" if cell_type is nnx.LSTMCell else "gru")[3:]
    found = spectrum(cell_fn, params, carry, inputs)
    expected = mean_log_det(cell_fn, params, carry, inputs)
    np.testing.assert_allclose(found.sum(axis=1), expected, rtol=1e-4)


def test_a_direction_that_is_lost():
    found = of_linear(np.diag([2.0, 1.0, 0.0]), 30)
    np.testing.assert_allclose(found[:2], np.log([2, 1]), atol=0.05)
    assert found[2] == -np.inf


def test_a_trajectory_that_is_not_finite_says_so():
    assert np.isnan(of_linear(np.full((2, 2), np.inf))).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_growth_whose_square_no_float_holds(scale: float):
    found = of_linear(scale * np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(found, np.log(scale), rtol=1e-6)


def test_many_like_terms_add_up_without_bias():
    """In float32 a plain sum of these is off by 5e-4."""
    found = of_linear(np.full((1, 1), 1.0001, np.float32), 100_000)
    exact = np.log(np.float64(np.float32(1.0001)))
    np.testing.assert_allclose(found, exact, rtol=5e-6)


def test_vmap_and_grad():
    start, inputs = jnp.zeros((1, 4)), jnp.zeros((5, 1))

    @jax.jit
    def of(scales: jax.Array) -> Any:
        def exponents(scale: jax.Array) -> jax.Array:
            return ltd.lyapunov_exponents(linear, scale * Q, start, inputs)[0]

        total = lambda scale: jnp.sum(exponents(scale))
        return jax.vmap(exponents)(scales), jax.vmap(jax.grad(total))(scales)

    found, slopes = of(jnp.asarray([0.5, 2.0]))
    np.testing.assert_allclose(found, np.log([[0.5] * 4, [2.0] * 4]), atol=1e-6)
    np.testing.assert_allclose(slopes, [4 / 0.5, 4 / 2.0], rtol=1e-5)


def test_half_precision_is_widened():
    cell, _, *trees = case("simple")
    half = jax.tree.map(lambda x: np.asarray(x, jnp.bfloat16), trees)
    wide = jax.tree.map(lambda x: x.astype(np.float32), half)
    found, expected = (spectrum(cell, *t) for t in (half, wide))
    chex.assert_type(found, np.float32)
    np.testing.assert_array_equal(found, expected)


def test_a_cell_that_computes_in_half_precision():
    cell = nnx.LSTMCell(F, H, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(cell)
    carry, inputs = case("lstm")[3:]

    def cell_fn(params: Any, carry: Any, x: Any) -> Any:
        return nnx.merge(graphdef, params)(carry, x)

    found = spectrum(cell_fn, params, carry, inputs)
    chex.assert_type(found, np.float32)
    cell.dtype = jnp.float32
    graphdef, params = nnx.split(cell)
    expected = spectrum(cell_fn, params, carry, inputs)
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_complex_and_other_leaves_of_the_carry():
    """A complex number counts as two; a turn in the plane moves neither."""

    def cell(p: Any, carry: Any, x: Any) -> Any:
        h, key, count = carry
        return (h * p, jax.random.split(key)[0], count + 1), count

    params = jnp.asarray([0.9 * np.exp(1j)], jnp.complex64)
    carry = jnp.ones((2, 1), jnp.complex64), jax.random.key(0), 0
    found = spectrum(cell, params, carry, jnp.zeros((4, 2)))
    np.testing.assert_allclose(found, np.log(0.9) * np.ones((2, 2)), rtol=1e-5)


def test_no_examples_at_all():
    found = spectrum(linear, Q, jnp.zeros((0, 4)), jnp.zeros((5, 0)))
    chex.assert_shape(found, (0, 4))


@pytest.mark.parametrize(
    ("name", "required", "bad"),
    [
        ("num_exponents", "from 1 to 4", [0, 5, True, 2.0]),
        ("warmup", "from 0 to 4", [-1, 5, None]),
        ("qr_every", ">= 1", [0, 1.5]),
    ],
)
def test_options_out_of_range(name: str, required: str, bad: list[Any]):
    for value in bad:
        message = f"`{name}` must be an int {required}; got {value}"
        with pytest.raises(ValueError, match=message):
            of_linear(Q, **{name: value})


def test_trees_and_cells_that_do_not_fit():
    ones, inputs = np.ones((2, 3)), np.zeros((5, 2))
    for carry, got in (
        ((ones, np.ones(())), r"\[\(\), \(2,\)\]"),
        (None, r"\[\]"),
    ):
        with pytest.raises(ValueError, match=f"`carry` must have .*; got .*{got}"):
            spectrum(linear, Q, carry, inputs)
    with pytest.raises(ValueError, match="`length` must be an int >= 0 where"):
        spectrum(linear, Q, ones, None)
    for cell in (lambda p, h, x: ((h, h), x), lambda p, h, x: (h[:, :2], x)):
        with pytest.raises(ValueError, match=r"it was given: required \(2, 3\); got"):
            spectrum(cell, (), ones, inputs)
    with pytest.raises(ValueError, match="must return a pair"):
        spectrum(lambda p, h, x: h, (), ones, inputs)


def test_a_cell_that_runs_by_itself():
    """Arnold's cat map has no inputs."""
    cat_map = lambda A, h, x: (h @ A % 1, None)
    A, start = jnp.array([[2.0, 1.0], [1.0, 1.0]]), jnp.array([[0.2, 0.3]])
    found = spectrum(cat_map, A, start, None, length=50, warmup=10)
    growth = np.log((3 + np.sqrt(5)) / 2)
    np.testing.assert_allclose(found, [[growth, -growth]], rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_trajectory_that_is_not_finite_has_none(bad: float):
    """Though the derivatives along it are, and the other example is well."""
    halves = lambda a, h, x: (a * h + x, None)
    inputs = np.zeros((5, 2, 1), np.float32)
    inputs[2, 0] = bad
    found = ltd.lyapunov_exponents(halves, 0.5, jnp.ones((2, 1)), inputs)
    np.testing.assert_allclose(found, [[np.nan], [np.log(0.5)]], rtol=1e-5)
    overflows = lambda a, h, x: (a * h, None)
    found = ltd.lyapunov_exponents(overflows, 1e20, jnp.ones((1, 1)), np.zeros((3, 1)))
    assert np.isnan(found).all()


def test_no_step_is_refused_by_its_name():
    halves = lambda a, h, x: (a * h, None)
    for inputs, length in ((np.zeros((0, 1)), None), (None, 0)):
        with pytest.raises(ValueError, match="`length` must be at least 1"):
            ltd.lyapunov_exponents(halves, 0.5, jnp.ones((1, 1)), inputs, length=length)
