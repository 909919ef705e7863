"""Products with the Gauss-Newton matrix, against the matrix itself."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import optax_ltd as ltd
from optax_ltd._second_order.gauss_newton import linearise
from optax_ltd._second_order.parameter_space import ParameterSpace
from tests.second_order.problems import Problem, dense_gauss_newton, flat, recurrent
from tests.slow import slow_but


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _direction(params: Any) -> Any:
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return structure.unflatten([rng.standard_normal(x.shape) for x in leaves])


def _product(problem: Problem, vector: Any) -> Any:
    outputs = lambda params: problem.predict(params)[0]
    return ltd.gauss_newton_product(outputs, problem.loss, problem.params, vector)


@pytest.mark.parametrize(
    "loss", slow_but(["softmax"], ["squared", "softmax", "quartic"])
)
def test_it_is_the_product_with_the_dense_matrix(loss: str):
    problem = recurrent(loss)
    vector = _direction(problem.params)
    expected = dense_gauss_newton(problem) @ flat(vector)
    np.testing.assert_allclose(flat(_product(problem, vector)), expected, rtol=1e-10)


def test_of_a_linear_model_it_is_the_hessian():
    x = jnp.asarray(np.random.default_rng(2).standard_normal((6, 4)))
    w, v = jnp.ones(4), jnp.arange(4.0)
    predict, loss = lambda w: x @ w, lambda z: jnp.mean(jnp.exp(z))
    hessian = jax.hessian(lambda w: loss(predict(w)))(w)
    product = ltd.gauss_newton_product(predict, loss, w, v)
    np.testing.assert_allclose(product, hessian @ v, rtol=1e-12)


def test_one_linearisation_serves_many_products():
    """The model is called once, and no product reads its parameters anew."""
    problem, calls = recurrent("softmax"), []

    def predict(params: Any) -> Any:
        calls.append(None)
        return problem.predict(params)[0]

    space = ParameterSpace.of(problem.params)
    linear = linearise(predict, problem.loss, space)
    matrix = dense_gauss_newton(problem)
    for seed in range(3):
        v = np.random.default_rng(seed).standard_normal(len(matrix))
        vector = space.vector("vector", ravel_pytree(problem.params)[1](jnp.asarray(v)))
        found = np.concatenate([x.ravel() for x in linear.product(vector)])
        np.testing.assert_allclose(found, matrix @ v, rtol=1e-10)
        np.testing.assert_allclose(
            linear.half_curvature(vector), v @ matrix @ v / 2, rtol=1e-10
        )
    assert len(calls) == 1


def test_all_rows_by_one_vmap_and_under_jit():
    problem = recurrent("squared")
    _, tree_of = ravel_pytree(problem.params)
    matrix = dense_gauss_newton(problem)
    row = lambda v: ravel_pytree(_product(problem, tree_of(v)))[0]
    found = jax.jit(jax.vmap(row))(jnp.eye(len(matrix)))
    np.testing.assert_allclose(found, matrix, rtol=1e-9, atol=1e-12)


def test_a_product_lowers_for_every_platform():
    problem = recurrent("softmax")
    predict = lambda params: problem.predict(params)[0]
    product = jax.jit(
        lambda params, v: ltd.gauss_newton_product(predict, problem.loss, params, v)
    )
    exported = jax.export.export(product, platforms=["cpu", "cuda", "tpu"])(
        problem.params, problem.params
    )
    assert len(exported.platforms) == 3


def test_a_tree_of_outputs_some_of_which_are_integers():
    w = {"a": jnp.array([1.0, 2.0]), "n": jnp.array([3]), "none": None}
    predict = lambda p: {"z": p["a"] ** 2, "at": p["n"]}
    loss = lambda z: jnp.sum(z["z"] ** 2 * z["at"])
    v = {"a": jnp.array([1.0, -1.0]), "n": jnp.array([7]), "none": None}
    product = ltd.gauss_newton_product(predict, loss, w, v)
    # J = diag(2 a), H = 2 n.
    np.testing.assert_allclose(product["a"], 4 * w["a"] ** 2 * 6 * v["a"])
    assert product["n"] is v["n"]


def test_half_precision_parameters_have_products_in_float32():
    w, v = jnp.full(3, 0.5, jnp.bfloat16), jnp.full(3, 1 + 2.0**-7, jnp.float32)
    product = ltd.gauss_newton_product(
        lambda w: w.astype(jnp.float32), lambda z: jnp.sum(z**2) / 2, w, v
    )
    assert product.dtype == jnp.float32
    np.testing.assert_array_equal(product, v)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vector": {"b": jnp.ones(2)}}, "`vector` must be a tree like `params`"),
        ({"vector": {"a": jnp.ones(3)}}, r"at \['a'\] of shape \(2,\); got an array"),
        (
            {"params": {"a": jnp.ones(2) * 1j}},
            r"`params` must be a tree of real arrays",
        ),
        ({"predict": lambda p: p["a"] * 1j}, "`outputs` must be a tree of real arrays"),
        ({"loss": lambda z: z}, "`loss` must be a function that returns a real scalar"),
    ],
)
def test_what_is_refused(wrong: Any, message: str):
    given = {
        "predict": lambda p: p["a"],
        "loss": jnp.sum,
        "params": {"a": jnp.ones(2)},
        "vector": {"a": jnp.ones(2)},
    }
    with pytest.raises(ValueError, match=message):
        ltd.gauss_newton_product(**{**given, **wrong})
