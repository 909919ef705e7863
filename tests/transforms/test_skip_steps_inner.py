"""Whatever optimiser is inside: what it is given, what it returns and keeps."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_ltd as ltd
from tests.transforms.factories import GRADIENTS, PARAMS, loose, same
from tests.transforms.skipped_runs import skips

SMALL = GRADIENTS["small"]
BAD = GRADIENTS["one nan"]


def test_optimisers_that_take_the_loss():
    for inner in (
        optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
        optax.polyak_sgd(),
    ):
        tx = loose(ltd.skip_steps(inner, zscore=6.0))
        state = tx.init(PARAMS)
        first, state = tx.update(SMALL, state, PARAMS, value=1.0)
        expected, _ = inner.update(SMALL, inner.init(PARAMS), PARAMS, value=1.0)
        assert same(first, expected)
        _, skipped = tx.update(GRADIENTS["one nan"], state, PARAMS, value=jnp.nan)
        assert same(skipped.inner_state, state.inner_state)


def test_an_optimiser_that_is_given_a_function():
    tx: Any = ltd.skip_steps(optax.chain(optax.sgd(1.0), _linesearch()))

    def loss(params):
        return jnp.sum(params**2)

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        extra = {"value": value, "grad": grad, "value_fn": loss}
        return tx.update(grad, state, params, **extra)

    params = jnp.array([1.0, -2.0])
    with jax.checking_leaks():
        updates, state = step(params, tx.init(params))
    assert loss(params + updates) < loss(params)
    updates, after = step(params * jnp.nan, state)
    assert not updates.any()
    assert same(after.inner_state, state.inner_state)


def _linesearch() -> Any:
    return optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)


def test_a_loss_that_is_not_finite_beside_a_gradient_that_is():
    tx = loose(ltd.skip_steps(optax.adam(0.1), max_consecutive=2))
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    for loss in (jnp.nan, jnp.inf):
        updates, state = update(SMALL, state, PARAMS, value=loss)
        assert same(updates, jax.tree.map(jnp.zeros_like, PARAMS))
    assert skips(state) == {"nonfinite": 2}
    assert state.inner_state[0].count == 0
    with pytest.raises(
        FloatingPointError, match=r"the last 2 steps.* 2 for nonfinite, .* update 1$"
    ):
        ltd.raise_if_diverged(state, PARAMS)


def test_what_inner_states_share_and_hand_on():
    """One array as two states, a state as the update, and one that never changes."""

    def update(updates, state, params=None):
        del params
        mean = jax.tree.map(lambda m, g: 0.5 * m + g, state["mean"], updates)
        return mean, {"mean": mean, "twice": mean, "fixed": state["fixed"]}

    def init(params):
        states = {"mean": params, "twice": params, "fixed": params}
        return jax.tree.map(jnp.copy, states)

    inner = optax.GradientTransformation(init, update)
    tx = loose(ltd.skip_steps(inner))
    step, state = jax.jit(tx.update), tx.init(PARAMS)
    state = state._replace(
        inner_state=state.inner_state | {"twice": jax.tree.map(jnp.negative, PARAMS)}
    )
    updates, skipped = step(GRADIENTS["both"], state)
    assert same(updates, jax.tree.map(jnp.zeros_like, PARAMS))
    assert same(skipped.inner_state, state.inner_state)
    updates, after = step(SMALL, skipped)
    expected, expected_state = jax.jit(inner.update)(SMALL, state.inner_state)
    assert same(updates, expected)
    assert same(after.inner_state, expected_state)


def test_states_of_every_kind():
    """No kind of leaf is left out of what stays, and none changes its type."""
    start: Any = {
        "bool": jnp.array(True),
        "int32": jnp.array(3),
        "uint8": jnp.array([1], jnp.uint8),
        "float8": jnp.ones(2, jnp.float8_e4m3fn),
        "key": jax.random.key(0),
        "none": None,
        "python": 1,
    }

    def update(updates, state, params=None):
        del params
        return updates, {
            "bool": ~state["bool"],
            "int32": state["int32"] + 1,
            "uint8": state["uint8"] + 1,
            "float8": (state["float8"].astype(float) * 2).astype(jnp.float8_e4m3fn),
            "key": jax.random.split(state["key"])[0],
            "none": None,
            "python": state["python"] + 1,
        }

    inner = optax.GradientTransformation(lambda params: start, update)
    tx = loose(ltd.skip_steps(inner))
    words = lambda state: state | {"key": jax.random.key_data(state["key"])}
    for step in (tx.update, jax.jit(tx.update)):
        _, after = step(SMALL, tx.init(PARAMS))
        expected = jax.tree.map(jnp.asarray, words(update(SMALL, start)[1]))
        assert same(words(after.inner_state), expected)
        _, skipped = step(BAD, after)
        assert same(words(skipped.inner_state), words(after.inner_state))


def test_moments_of_parameters_in_bfloat16():
    """In mixed precision the first gradient decides on their dtype."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS)
    bare, tx = optax.adam(0.1), loose(ltd.skip_steps(optax.adam(0.1)))
    update, state = jax.jit(tx.update), tx.init(params)
    updates, state = update(BAD, state, params)
    assert same(updates, jax.tree.map(jnp.zeros_like, PARAMS))
    updates, state = update(SMALL, state, params)
    expected = jax.jit(bare.update)(SMALL, bare.init(params), params)
    assert same((updates, state.inner_state), expected)


def test_numbers_and_constants_as_updates():
    constant = optax.stateless(lambda updates, _: jax.tree.map(lambda _: 1.0, updates))
    inner: Any
    gradient: Any
    for inner, gradient, expected in (
        (optax.sgd(0.5), 3.0, -1.5),
        (constant, jnp.array(3.0), 1.0),
        (optax.set_to_zero(), jnp.array(3.0), 0.0),
    ):
        tx = ltd.skip_steps(inner)
        for update in (tx.update, jax.jit(tx.update)):
            assert update(gradient, tx.init(1.0))[0] == expected
            assert update(gradient * jnp.nan, tx.init(1.0))[0] == 0


def test_an_inner_state_that_changes_its_structure_is_refused():
    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        return updates, (state, updates)

    inner = optax.GradientTransformation(optax.identity().init, update)
    tx = ltd.skip_steps(inner)
    message = r"^`inner` must be a transformation that keeps the structure of its st"
    for step in (tx.update, jax.jit(tx.update)):
        with pytest.raises(ValueError, match=message):
            step(SMALL, tx.init(PARAMS))
