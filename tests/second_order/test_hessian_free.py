"""What Hessian-free optimisation does, and what it does where it cannot."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import optax_ltd as ltd
from tests.second_order.factories import (
    FRESH_STATE,
    descend,
    gradient_of_loss,
    hessian_free_update,
    loss,
    outputs,
)
from tests.second_order.problems import (
    dense_gauss_newton,
    dense_structural,
    recurrent,
    squared_distance,
)
from tests.slow import slow_but
from tests.transforms.factories import FINITE, NONFINITE, PARAMS, flat, loose, same


def _with(state: Any, **fields: Any) -> Any:
    """A state with other fields in its record of the search."""
    arrays = {k: jnp.asarray(v, jnp.float32) for k, v in fields.items()}
    return state._replace(search=state.search._replace(**arrays))


def _uphill() -> Any:
    return jax.tree.map(jnp.negative, gradient_of_loss())


def _unchanged_but_for_counts(state: Any, new: Any) -> None:
    assert same(new.solution, state.solution)
    assert new.search.damping == state.search.damping
    assert new.search.reduction_ratio == state.search.reduction_ratio
    assert new.search.cg_iterations == 0


@pytest.mark.parametrize("mu", slow_but([0.5], [0.0, 0.5]))
def test_a_step_is_the_solution_of_the_damped_system(mu: float):
    """With the dense matrices, in float64."""
    with jax.enable_x64(True):
        problem, damping = recurrent("softmax"), 0.3
        tx = loose(ltd.hessian_free(damping, structural_damping=mu))
        value = lambda params: problem.loss(problem.predict(params)[0])
        gradient = jax.grad(value)(problem.params)
        predict = problem.predict if mu else lambda p: problem.predict(p)[0]

        @jax.jit
        def update(gradient: Any) -> Any:
            state = tx.init(problem.params)
            given = {"predict": predict, "loss": problem.loss}
            return tx.update(gradient, state, problem.params, **given)

        _, state = update(gradient)
        matrix = dense_gauss_newton(problem) + damping * np.eye(21)
        matrix += damping * mu * dense_structural(problem, squared_distance)
        expected = np.linalg.solve(matrix, -ravel_pytree(gradient)[0])
        found = ravel_pytree(state.solution)[0]
        assert 11 <= state.search.cg_iterations <= 21
        np.testing.assert_allclose(found, expected, rtol=0.05, atol=2e-3)
        # What conjugate gradients leave undone is small in the model.
        model = lambda x: x @ matrix @ x / 2 - expected @ matrix @ x
        assert model(found) < 0.99 * model(expected)


def test_a_quadratic_is_solved_in_one_step():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, y = jnp.asarray(rng.standard_normal((8, 3))), jnp.arange(8.0)
        predict = lambda w: x @ w
        loss = lambda z: jnp.sum((z - y) ** 2)
        w = jnp.ones(3)
        tx = loose(ltd.hessian_free(1e-9, preconditioner_exponent=0))

        @jax.jit
        def step(w: jax.Array) -> Any:
            gradient = jax.grad(lambda w: loss(predict(w)))(w)
            return tx.update(gradient, tx.init(w), w, predict=predict, loss=loss)

        update, state = step(w)
        np.testing.assert_allclose(w + update, np.linalg.lstsq(x, y)[0], rtol=1e-6)
        np.testing.assert_allclose(state.search.reduction_ratio, 1, rtol=1e-6)
        np.testing.assert_allclose(state.search.damping, 2 / 3 * 1e-9)
        assert state.record.scale == 1


def test_conjugate_gradients_begin_at_a_share_of_where_the_last_ones_ended():
    """One iteration from there, along the residual."""
    with jax.enable_x64(True):
        curvature, b = np.array([1.0, 2.0, 5.0]), np.array([1.0, -2.0, 3.0])
        tx = loose(
            ltd.hessian_free(
                0.1, max_cg_iterations=1, preconditioner_exponent=0, warm_start=0.7
            )
        )
        loss = lambda z: z @ (curvature * z) / 2
        given = {"predict": lambda w: w, "loss": loss}
        update = jax.jit(lambda s: tx.update(-b, s, jnp.zeros(3), **given))
        state, start = tx.init(jnp.zeros(3)), np.zeros(3)
        for _ in range(3):
            matrix = np.diag(curvature + state.search.damping)
            residual = b - matrix @ start
            length = residual @ residual / (residual @ matrix @ residual)
            _, state = update(state)
            np.testing.assert_allclose(state.solution, start + length * residual)
            start = 0.7 * state.solution


def test_the_ratio_is_that_of_what_was_proposed_and_of_the_undamped_model():
    """The step .8 of x - x²/2 takes (.3 - x)² from .09 to .25; .8³ of it is enough."""
    with jax.enable_x64(True):
        tx = loose(ltd.hessian_free(0.25, preconditioner_exponent=0))
        w = jnp.zeros(())
        step, state = jax.jit(
            lambda g: tx.update(
                g,
                tx.init(w),
                w,
                predict=lambda w: w[None],
                loss=lambda z: jnp.sum((z - 1) ** 2) / 2,
                value_fn=lambda w: (0.3 - w) ** 2,
            )
        )(-jnp.ones(()))
        np.testing.assert_allclose(step, 0.8 * 0.8**2, rtol=1e-6)
        predicted = -0.8 + 0.8**2 / 2
        np.testing.assert_allclose(state.search.reduction_ratio, 0.16 / predicted)


def test_the_loss_of_a_curved_valley_falls_at_each_step():
    """Rosenbrock's function as a sum of squares; Gauss-Newton finds its end."""
    predict = lambda p: jnp.stack([1 - p[0], 10 * (p[1] - p[0] ** 2)])
    loss = lambda z: jnp.sum(z**2)
    start = jnp.array([-1.2, 1.0])
    (p, state), values = descend(ltd.hessian_free(), predict, loss, start, updates=40)
    assert (np.diff(values) <= 0).all()
    assert values[-1] < 1e-8
    np.testing.assert_allclose(p, 1, atol=1e-3)
    assert state.search.refused_nonfinite == 0


def test_a_zero_gradient_changes_nothing():
    warm = hessian_free_update(gradient_of_loss())[1]
    for state in (FRESH_STATE, warm):
        step, new = hessian_free_update(FINITE["zero"], state)
        assert not flat(step).any()
        _unchanged_but_for_counts(state, new)
        counts = lambda s: s.search[4:]
        assert same(counts(new), counts(state))
        assert new.record.total_count == state.record.total_count + 1
        assert new.search.loss_evaluations == 0


@pytest.mark.parametrize("kind", NONFINITE)
def test_a_gradient_that_is_not_finite(kind: str):
    state = hessian_free_update(gradient_of_loss())[1]
    step, new = hessian_free_update(NONFINITE[kind], state)
    assert not flat(step).any()
    _unchanged_but_for_counts(state, new)
    assert new.search.refused_nonfinite == 1
    assert new.search.refused_no_decrease == 0
    assert new.search.loss_evaluations == 0


def test_a_loss_that_is_not_finite_where_it_starts():
    nowhere = jax.tree.map(lambda x: x * jnp.nan, PARAMS)
    step, new = hessian_free_update(FINITE["small"], FRESH_STATE, nowhere)
    assert not flat(step).any()
    _unchanged_but_for_counts(FRESH_STATE, new)
    assert new.search.refused_nonfinite == 1
    assert new.record.nonfinite_count == 0  # The gradient was finite.
    assert new.record.clipped_count == 1


def test_a_product_that_is_not_finite():
    """The next search begins from zero."""
    tx = loose(ltd.hessian_free())
    root = lambda w: jnp.sqrt(jnp.abs(w))  # With no derivative at zero.

    @jax.jit
    def update(gradient: jax.Array, state: Any, w: jax.Array) -> Any:
        loss = lambda z: jnp.sum((z - 1) ** 2)
        return tx.update(gradient, state, w, predict=root, loss=loss)

    w, state = jnp.ones(2) / 4, tx.init(jnp.ones(2))
    _, state = update(-jnp.ones(2), state, w)
    assert state.solution.any()
    step, new = update(-jnp.ones(2), state, jnp.array([0.25, 0.0]))
    np.testing.assert_array_equal(step, 0)
    np.testing.assert_array_equal(new.solution, 0)
    assert new.search.refused_nonfinite == 1
    np.testing.assert_allclose(new.search.damping, 1.5 * state.search.damping)


def test_negative_curvature_where_the_loss_is_not_convex():
    """No step comes of it at first, and one does once λ has grown enough."""
    tx = loose(ltd.hessian_free())

    @jax.jit
    def update(w: jax.Array, state: Any) -> Any:
        loss = lambda z: jnp.sum(jnp.cos(z))
        given = {"predict": lambda w: w, "loss": loss}
        return tx.update(jax.grad(loss)(w), state, w, **given)

    w = jnp.array([0.3, -0.2])
    state = tx.init(w)
    step, state = update(w, state)
    np.testing.assert_array_equal(step, 0)
    assert state.search.negative_curvature_count == 1
    assert state.search.refused_no_decrease == 1
    for _ in range(7):
        step, state = update(w, state)
    assert (np.sign(step) == np.sign(w)).all()  # Down from the top.
    assert state.search.negative_curvature_count < 8


def test_no_step_where_none_lowers_the_loss():
    step, new = hessian_free_update(_uphill())
    assert not flat(step).any()
    assert new.search.refused_no_decrease == 1
    assert new.search.refused_nonfinite == 0
    assert new.search.loss_evaluations >= 60
    np.testing.assert_allclose(new.search.damping, 0.15)


def test_a_damping_that_runs_away_is_held_and_counted():
    """By a loss of 0, which is exact, and stays."""
    state = _with(FRESH_STATE, damping=1e12)
    for count in (1, 2):
        step, state = _with_value_fn()(gradient_of_loss(), jnp.zeros(()), state)
        assert not flat(step).any()
        np.testing.assert_allclose(state.search.damping, 1e12)
        assert state.search.damping_held_count == count


def test_a_damping_that_ran_away_comes_back():
    state = _with(FRESH_STATE, damping=1e10)
    step, state = hessian_free_update(gradient_of_loss(), state)
    assert np.linalg.norm(flat(step)) < 1e-9
    for _ in range(61):
        step, state = hessian_free_update(gradient_of_loss(), state)
    expected, _ = hessian_free_update(gradient_of_loss())
    # As λ is .1 again; directions differ, as each search begins where the last ended.
    np.testing.assert_allclose(
        np.linalg.norm(flat(step)), np.linalg.norm(flat(expected)), rtol=0.5
    )


def test_bad_gradients_without_end_leave_the_next_good_one_as_it_was():
    state = FRESH_STATE
    for _ in range(100):
        _, state = hessian_free_update(NONFINITE["one nan"], state)
    step, _ = hessian_free_update(gradient_of_loss(), state)
    expected, _ = hessian_free_update(gradient_of_loss())
    # The preconditioner is estimated afresh at each update.
    np.testing.assert_allclose(flat(step), flat(expected), rtol=0.2)


def test_it_learns_on_where_data_change_after_a_long_stay_at_a_minimum():
    """That of a loss above zero, where all that is left to gain is rounding."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((8, 3)), jnp.float32)
    predict = lambda w: x @ w
    tx, w = ltd.hessian_free(), jnp.zeros(3)
    targets = jnp.asarray(rng.standard_normal((2, 8)), jnp.float32)
    loss_to = lambda y: lambda z: jnp.mean((z - y) ** 2)
    (w, state), _ = descend(tx, predict, loss_to(targets[0]), w, updates=100)
    assert state.search.damping < 1
    (w, _), values = descend(
        tx, predict, loss_to(targets[1]), w, updates=20, state=state
    )
    least = np.linalg.lstsq(x, targets[1])[1][0] / 8
    np.testing.assert_allclose(values[-1], least, rtol=1e-4)


def test_a_loss_that_is_infinite_after_any_step_raises_the_damping():
    """Also where what is predicted would be lost in its rounding."""
    tx, w = loose(ltd.hessian_free()), jnp.zeros(2)
    value_fn = lambda w: jnp.where(jnp.all(w == 0), 1e12, jnp.inf)
    given = {"predict": lambda w: w, "loss": lambda z: jnp.sum((z - 1) ** 2)}
    _, state = jax.jit(
        lambda g: tx.update(g, tx.init(w), w, value_fn=value_fn, **given)
    )(-jnp.ones(2))
    assert state.search.refused_no_decrease == 1
    np.testing.assert_allclose(state.search.damping, 0.15)


def test_it_learns_on_with_a_loss_in_half_precision():
    """Whose rounding is coarse: λ does not run away for what float32 would show."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((20, 3)), jnp.float32)
    first = jnp.asarray(rng.standard_normal(20), jnp.float32)
    second = first + 5 * x[:, 0]
    predict = lambda w: x @ w
    coarse = lambda y: lambda z: jnp.mean((z - y) ** 2).astype(jnp.bfloat16)
    tx = ltd.hessian_free()
    (w, state), _ = descend(tx, predict, coarse(first), jnp.zeros(3), updates=150)
    (w, _), _ = descend(tx, predict, coarse(second), w, updates=50, state=state)
    least = np.linalg.lstsq(x, second)[1][0] / 20
    np.testing.assert_allclose(jnp.mean((predict(w) - second) ** 2), least, rtol=0.02)


@functools.cache
def _with_value_fn() -> Any:
    tx = loose(ltd.hessian_free())

    @jax.jit
    def update(updates: Any, factor: jax.Array, state: Any = FRESH_STATE) -> Any:
        given = {"predict": outputs, "loss": loss}
        value_fn = lambda params: factor * loss(outputs(params))
        return tx.update(updates, state, PARAMS, value_fn=value_fn, **given)

    return update


def test_the_loss_of_another_batch_is_what_the_search_goes_by():
    plain, expected = hessian_free_update(gradient_of_loss())
    step, state = _with_value_fn()(gradient_of_loss(), jnp.ones(()))
    np.testing.assert_allclose(flat(step), flat(plain), rtol=1e-4)
    evaluations = expected.search.loss_evaluations
    assert state.search.loss_evaluations == evaluations + 1  # That at the parameters.
    ratio = expected.search.reduction_ratio
    _, state = _with_value_fn()(gradient_of_loss(), jnp.full((), 0.5))
    np.testing.assert_allclose(state.search.reduction_ratio, ratio / 2, rtol=1e-4)
    step, state = _with_value_fn()(gradient_of_loss(), -jnp.ones(()))
    assert not flat(step).any()


def test_leaves_that_do_not_move():
    """An integer, a `None` and what is masked pass; a complex one is refused."""
    params = {"w": jnp.ones(2), "n": jnp.array([3]), "none": None}
    tx = loose(ltd.hessian_free())
    predict = lambda p: p["n"] * p["w"]
    given = {"predict": predict, "loss": lambda z: jnp.sum(z**2)}
    value = lambda p: given["loss"](predict(p))
    gradient = jax.grad(value, allow_int=True)(params)
    state = tx.init(params)
    updates, new = jax.jit(
        lambda w: tx.update({**gradient, "w": w}, state, params, **given)
    )(gradient["w"])
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert updates["n"].dtype == jax.dtypes.float0
    np.testing.assert_allclose(updates["w"], -1, rtol=0.1)
    masked = optax.masked(tx, {"w": True, "n": False, "none": None})
    state = masked.init(params)
    only = {**given, "predict": lambda p: 3 * p["w"]}
    updates, _ = jax.jit(
        lambda w: masked.update({**gradient, "w": w}, state, params, **only)
    )(gradient["w"])
    np.testing.assert_allclose(updates["w"], -1, rtol=0.1)
    with pytest.raises(ValueError, match="`params` must be a tree of real arrays"):
        tx.init({"w": jnp.ones(2) * 1j})


def test_in_a_chain_under_injected_hyperparameters():
    """λ is what the state says; others may follow a schedule."""
    given = {"predict": outputs, "loss": loss, "value": jnp.ones(())}
    injected = optax.inject_hyperparams(
        ltd.hessian_free, static_args=("max_cg_iterations", "hidden_distance")
    )
    factory: Any = injected
    tx = loose(
        optax.chain(
            ltd.clip_by_global_norm(1e6),
            factory(
                damping=0.2,
                warm_start=optax.constant_schedule(0.5),
                structural_damping=0.0,
            ),
        )
    )
    given["predict"] = lambda params: (outputs(params), outputs(params)[:, None])
    state = tx.init(PARAMS)
    step, state = jax.jit(lambda g, s: tx.update(g, s, PARAMS, **given))(
        gradient_of_loss(), state
    )
    assert flat(step).any()
    metrics = ltd.metrics(state)
    np.testing.assert_allclose(metrics["hessian_free/damping"], 0.2 * 2 / 3, rtol=1e-5)
