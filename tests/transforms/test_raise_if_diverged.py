"""The host-side check names the leaf, when and only when it should."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import optax_ltd as ltd
from tests.transforms.factories import (
    GRADIENTS,
    PARAMS,
    VARIANTS,
    jitted_update,
    loose,
)


def _state(name, *kinds):
    """The state of a variant that has met gradients of these kinds."""
    state = VARIANTS[name].make().init(PARAMS)
    for kind in kinds:
        _, state = jitted_update(name)(GRADIENTS[kind], state, PARAMS)
    return state


@pytest.mark.parametrize("name", VARIANTS)
def test_it_names_the_leaf(name):
    factory = VARIANTS[name].factory.__name__
    message = (
        rf"the last gradient that {factory} met was not finite: "
        r"Inf or NaN in \['b'\] \(1 of 2 gradients so far\)"
    )
    state = _state(name, "small", "one nan")
    with pytest.raises(FloatingPointError, match=message):
        ltd.raise_if_diverged(state, PARAMS)


def test_it_is_silent_before_and_after():
    for kinds in ((), ("small",), ("all nan", "huge")):
        ltd.raise_if_diverged(_state("clip_or_random_step", *kinds), PARAMS)


def test_patience():
    state = _state("clip_or_random_step", "all nan", "both", "one nan")
    ltd.raise_if_diverged(state, PARAMS, patience=4)
    patience: Any
    for patience in (3, np.int64(3)):
        with pytest.raises(FloatingPointError, match=r"the last 3 gradients .* were"):
            ltd.raise_if_diverged(state, PARAMS, patience=patience)


@pytest.mark.parametrize("patience", [0, -1, 1.5, 2.0, True, "1", None])
def test_bad_patience(patience):
    state = _state("clip_by_value")
    with pytest.raises(ValueError, match=r"^`patience` must be an int >= 1; got "):
        ltd.raise_if_diverged(state, PARAMS, patience=patience)


def test_nothing_recorded_is_an_error():
    with pytest.raises(ValueError, match=r"`opt_state` must hold the .*; got a tuple"):
        ltd.raise_if_diverged(optax.adam(0.1).init(PARAMS), PARAMS)


def test_a_traced_state_is_an_error():
    tx = ltd.clip_by_value(1.0)

    @jax.jit
    def step(state):
        ltd.raise_if_diverged(state, PARAMS)

    with pytest.raises(ValueError, match=r"must be called outside `jax.jit`"):
        step(tx.init(PARAMS))


def test_a_mask_does_not_move_the_name():
    # One node stands for all of "a", so that no index fits the whole tree.
    params = {"a": {"x": jnp.ones(1), "y": jnp.ones(1)}, "b": [jnp.ones(1)] * 2}
    tx = optax.masked(ltd.clip_by_value(1.0), {"a": False, "b": True})
    bad = {"a": params["a"], "b": [jnp.ones(1), jnp.array([jnp.inf])]}
    _, state = jax.jit(tx.update)(bad, tx.init(params), params)
    with pytest.raises(FloatingPointError, match=r"Inf or NaN in \['b'\]\[1\] "):
        ltd.raise_if_diverged(state, params)


def test_a_leaf_that_params_lack_is_named_by_its_index():
    state = _state("clip_by_value", "one nan")
    with pytest.raises(FloatingPointError, match="leaf 1, which has no counterpart"):
        ltd.raise_if_diverged(state, {"a": PARAMS["a"]})


def test_the_second_of_a_chain_may_be_the_one():
    late = optax.chain(
        ltd.clip_by_value(1.0), optax.scale(float("inf")), ltd.clip_by_global_norm(1.0)
    )
    _, state = jax.jit(late.update)(GRADIENTS["small"], late.init(PARAMS))
    with pytest.raises(FloatingPointError, match="that clip_by_global_norm met"):
        ltd.raise_if_diverged(state, PARAMS)


def test_the_member_of_an_ensemble():
    tx = ltd.clip_by_value(1.0)
    stacked = jax.tree.map(
        lambda *leaves: np.stack(leaves), GRADIENTS["small"], GRADIENTS["one nan"]
    )
    update = jax.jit(jax.vmap(lambda updates: tx.update(updates, tx.init(PARAMS))))
    _, states = update(stacked)
    with pytest.raises(FloatingPointError, match=r"met by member 1 .* in \['b'\]"):
        ltd.raise_if_diverged(states, PARAMS)


def test_a_bare_array():
    tx = ltd.clip_by_value(1.0)
    bad = jnp.array([jnp.inf])
    _, state = tx.update(bad, tx.init(bad))
    with pytest.raises(FloatingPointError, match="in the only leaf "):
        ltd.raise_if_diverged(state, bad)


class Attention(NamedTuple):
    query: Any
    key: Any
    value: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Gain:
    value: Any


ATTENTION = Attention(jnp.ones(1), jnp.ones(2), jnp.full(3, jnp.nan))
BOXED = linen.Partitioned(jnp.array([jnp.nan]), (None,))


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (ATTENTION, ".value"),
        ({"attn": ATTENTION}, "['attn'].value"),
        ({"value": jnp.array([jnp.nan])}, "['value']"),
        ([Gain(jnp.ones(1)), Gain(jnp.array([jnp.nan]))], "[1].value"),
        # Where Flax keeps an array in a box, the box is the parameter.
        ({"w": nnx.Param(jnp.array([jnp.nan]))}, "['w']"),
        ({"w": BOXED}, "['w']"),
        (Gain(nnx.Param(jnp.array([jnp.nan]))), ".value"),
    ],
)
def test_a_parameter_may_be_called_value(bad, name):
    tx = loose(ltd.clip_by_value(1.0))
    _, state = tx.update(bad, tx.init(bad))
    with pytest.raises(FloatingPointError) as error:
        ltd.raise_if_diverged(state, bad)
    assert f"Inf or NaN in {name} (1 of 1" in str(error.value)


def test_a_parameter_called_value_is_not_its_parent():
    bad = {"attn": ATTENTION}
    tx = loose(ltd.clip_by_value(1.0))
    _, state = tx.update(bad, tx.init(bad))
    with pytest.raises(FloatingPointError, match="leaf 2, which has no counterpart"):
        ltd.raise_if_diverged(state, {"attn": jnp.ones(1)})
