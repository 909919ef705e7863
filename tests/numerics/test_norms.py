"""The norm of a tree, against float64 and at both ends of every dtype's range."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import optax_ltd as ltd
from optax_ltd._numerics.tree_norm import tree_norm

steady = settings(derandomize=True, deadline=None, max_examples=50)
jitted_norm = jax.jit(tree_norm)


@pytest.mark.parametrize(
    ("entries", "dtype", "norm"),
    [
        ([300, 400], jnp.float16, 500),
        ([6e4, 6e4], jnp.float16, np.hypot(59999, 59999)),
        ([3e20, 4e20], jnp.float32, 5e20),
        ([3e20, 4e20], jnp.bfloat16, 5e20),
        ([3e-30, 4e-30], jnp.float32, 5e-30),
        ([3e-30, 4e-30], jnp.bfloat16, 5e-30),
        ([3e-38, 0], jnp.float32, 3e-38),
        ([6e-5, 0], jnp.float16, 6e-5),
        ([3e20, 4e20j], jnp.complex64, 5e20),
        ([3e-30 + 4e-30j, 0], jnp.complex64, 5e-30),
        ([0, 0], jnp.float32, 0),
    ],
)
def test_the_ends_of_the_range(entries, dtype, norm):
    value = ltd.global_norm(jnp.array(entries, dtype))
    assert value.dtype == jnp.float32
    precision = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(value, norm, rtol=max(precision, 2e-7))


def test_a_norm_beyond_its_dtype_is_infinite_and_yet_finite_inside():
    measured = tree_norm(jnp.array([3e38, 3e38, 3e38]))
    assert measured.norm == jnp.inf
    assert measured.finite
    assert measured.first_bad_leaf == -1
    ratio = np.float64(measured.root) / np.float64(measured.lift)
    np.testing.assert_allclose(ratio, 3e38 * np.sqrt(3), rtol=1e-6)


def test_float64():
    with jax.enable_x64(True):
        for size in (1.0, 1e200, 1e-200, 1e307):
            norm = ltd.global_norm(np.array([3.0, 4.0]) * size)
            assert norm.dtype == jnp.float64
            np.testing.assert_allclose(norm, 5 * size, rtol=1e-15)
        mixed = {"a": np.array([3], np.float16), "b": np.array([4e200])}
        np.testing.assert_allclose(ltd.global_norm(mixed), 4e200, rtol=1e-15)


@steady
@given(
    hnp.arrays(np.float32, 6, elements=st.floats(-1, 1, width=32)),
    st.integers(-120, 120),
)
def test_against_float64(entries, exponent):
    # Subnormal numbers may be flushed to 0 by the machine.
    scaled = np.ldexp(np.where(abs(entries) < 2e-2, 0, entries), exponent)
    tree = {"a": jnp.asarray(scaled[:4]), "b": jnp.asarray(scaled[4:])}
    expected = np.linalg.norm(scaled.astype(np.float64))
    np.testing.assert_allclose(jitted_norm(tree).norm, expected, rtol=5e-7)


@steady
@given(
    hnp.arrays(np.float32, 4, elements=st.floats(-(2.0**10), 2.0**10, width=32)),
    st.integers(-60, 60),
)
def test_a_power_of_two_scales_the_norm_exactly(entries, exponent):
    entries = np.where(abs(entries) < 1e-2, 0, entries).astype(np.float32)
    left = jitted_norm({"a": jnp.asarray(np.ldexp(entries, exponent))}).norm
    right = jitted_norm({"a": jnp.asarray(entries)}).norm
    np.testing.assert_allclose(left, np.ldexp(np.float64(right), exponent), rtol=2e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [0, 1e-30, 1, 3e38])
def test_the_first_bad_leaf(bad, size):
    tree = [
        jnp.ones(2, jnp.int32),
        jnp.full(2, float(size)),
        None,
        jnp.full(3, size, float),
    ]
    leaves = jax.tree.leaves(tree)
    assert jitted_norm(tree).first_bad_leaf == -1
    for positions in ([1], [2], [1, 2]):
        spoiled = list(leaves)
        for position in positions:
            spoiled[position] = leaves[position].at[1].set(bad)
        measured = jitted_norm(jax.tree.unflatten(jax.tree.structure(tree), spoiled))
        assert measured.first_bad_leaf == positions[0]
        assert not measured.finite
        assert not jnp.isfinite(measured.norm)


def test_what_counts_for_nothing():
    tree = {
        "bool": jnp.array([True]),
        "empty": jnp.zeros((0, 2)),
        "float0": np.zeros(2, jax.dtypes.float0),
        "int": jnp.array([100]),
        "masked": optax.MaskedNode(),
        "none": None,
        "real": jnp.array([3.0, 4.0]),
    }
    assert ltd.global_norm(tree) == 5
    del tree["real"]
    for empty in (tree, {}, None, (), jnp.zeros((0,)), [jnp.array([1])]):
        norm = ltd.global_norm(empty)
        assert norm == 0
        assert norm.dtype == jnp.float32


def test_python_numbers_are_leaves():
    assert ltd.global_norm({"a": 3.0, "b": [4.0, 7]}) == 5


jitted_jvp = jax.jit(lambda x, tangent: jax.jvp(ltd.global_norm, (x,), (tangent,)))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e20, 3e37])
def test_the_derivative_is_the_unit_vector(size):
    size = np.float32(size)
    tree = {"a": size * np.array([2, -4], "f"), "b": size * np.array([4], "f")}
    slope = jax.jit(jax.grad(ltd.global_norm))(tree)
    np.testing.assert_allclose(slope["a"], [1 / 3, -2 / 3], rtol=1e-6)
    np.testing.assert_allclose(slope["b"], [2 / 3], rtol=1e-6)
    _, tangent = jitted_jvp(tree, jax.tree.map(np.ones_like, tree))
    np.testing.assert_allclose(tangent, 1 / 3, rtol=1e-6)


def test_the_derivative_at_zero_is_zero():
    slope = jax.jit(jax.grad(ltd.global_norm))({"a": jnp.zeros(3), "b": jnp.zeros(())})
    assert not any(leaf.any() for leaf in jax.tree.leaves(slope))


def test_the_derivative_of_a_complex_norm():
    z, direction = np.array([[3 + 4j, 0], [1j, 1j]], np.complex64)
    _, tangent = jitted_jvp(z, direction)
    np.testing.assert_allclose(tangent, 0.8, rtol=1e-6)


def test_the_second_derivative():
    hessian = jax.jit(jax.hessian(ltd.global_norm))(jnp.array([3.0, 4.0]))
    # (1 - u uᵀ) / ‖x‖ with u = (.6, .8)
    expected = np.array([[0.64, -0.48], [-0.48, 0.36]]) / 5
    np.testing.assert_allclose(hessian, expected, rtol=1e-5, atol=1e-8)


def test_an_ensemble_is_each_member_alone():
    rows = jnp.array([[3.0, 4.0], [3e20, 4e20], [3e-30, 4e-30], [jnp.nan, 1], [0, 0]])
    together = jax.vmap(ltd.global_norm)(rows)
    alone = [ltd.global_norm(row) for row in rows]
    np.testing.assert_array_equal(together, np.array(alone))


def test_the_second_pass_is_left_to_a_branch_of_scalars():
    jaxpr = jax.make_jaxpr(ltd.global_norm)([jnp.ones((8, 8)), jnp.ones(3)])
    conds = [eqn for eqn in _equations(jaxpr.jaxpr) if eqn.primitive.name == "cond"]
    assert len(conds) == 1
    assert all(out.aval.shape == () for out in conds[0].outvars)


def _equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns") and eqn.primitive.name != "cond":
                    yield from _equations(inner)
