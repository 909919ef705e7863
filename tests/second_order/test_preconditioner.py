"""The diagonal of the preconditioner against examples' gradients one by one."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from optax_ltd._second_order import preconditioner as module
from optax_ltd._second_order.gauss_newton import linearise
from optax_ltd._second_order.parameter_space import ParameterSpace
from tests.second_order.problems import recurrent


def test_its_square_is_the_mean_of_squares_of_examples_gradients(monkeypatch):
    monkeypatch.setattr(module, "_PROBES", 4000)
    with jax.enable_x64(True):
        problem = recurrent("squared")
        space = ParameterSpace.of(problem.params)
        linear = linearise(lambda p: problem.predict(p)[0], problem.loss, space)
        found = module.preconditioner(
            linear, space.point, jnp.asarray(0.0), 1.0, jax.random.key(0)
        )

        # The loss is a mean over five examples: that of one is what it adds, times 5.
        def added(params, example):
            outputs = problem.predict(params)[0]
            only = jax.lax.stop_gradient(outputs).at[example].set(outputs[example])
            return 5 * problem.loss(only)

        each = [jax.grad(added)(problem.params, example) for example in range(5)]
        squares = jax.tree.map(lambda *rows: np.mean(np.square(rows), 0), *each)
        found, squares = ravel_pytree(found)[0], ravel_pytree(squares)[0]
        assert found.max() == 1  # A factor of all makes no difference.
        np.testing.assert_allclose(found * squares.max(), squares, rtol=0.2)


def test_the_exponent_and_the_damping():
    problem = recurrent("softmax")
    space = ParameterSpace.of(problem.params)
    linear = linearise(lambda p: problem.predict(p)[0], problem.loss, space)
    make = lambda exponent, damping: module.preconditioner(
        linear, space.point, jnp.asarray(damping), exponent, jax.random.key(0)
    )
    flat = lambda found: np.concatenate([np.ravel(x) for x in found])
    plain, damped = flat(make(1.0, 0.0)), flat(make(1.0, 0.5))
    # p / max p and (p + λ) / (max p + λ), with p at the ends of them all. At another λ
    # it is the same one.
    most = 0.5 * (1 - damped.min()) / (damped.min() - plain.min())
    for damping in (0.5, 0.1):
        expected = (most * plain + damping) / (most + damping)
        np.testing.assert_allclose(flat(make(1.0, damping)), expected, rtol=1e-4)
    power = flat(make(jnp.asarray(0.75), 0.5))
    np.testing.assert_allclose(power, damped**0.75, rtol=1e-5)
    assert all(x.shape == () and x == 1 for x in make(0, 0.5))
    assert (flat(make(0.75, 1e-12)) > 0).all()


def test_eight_passes_are_made():
    """Two examples, of gradients (1, 1) and (1, -1).

    A pass adds to the first entry alone where their signs agree, else to the second.
    """
    space = ParameterSpace.of(jnp.ones(2))
    rows = jnp.array([[1.0, 1.0], [1.0, -1.0]])
    linear = linearise(lambda p: rows @ p, jnp.sum, space)

    def agreeing(key: jax.Array) -> jax.Array:
        nothing = jnp.asarray(0.0)
        (found,) = module.preconditioner(linear, space.point, nothing, 1.0, key)
        return 8 * found[0] / found.sum()

    passes = np.asarray(jax.vmap(agreeing)(jax.random.split(jax.random.key(0), 200)))
    np.testing.assert_allclose(passes, np.round(passes), atol=1e-3)
    assert {3, 4, 5} <= set(np.round(passes)) <= set(range(9))
