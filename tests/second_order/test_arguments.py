"""Bad arguments are refused by name, with what is required and what came."""

import re
from typing import Any

import jax.numpy as jnp
import pytest

import optax_ltd as ltd
from tests.transforms.factories import loose

GIVEN: dict[str, Any] = {"predict": lambda p: p, "loss": jnp.sum}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"damping": 0}, "`damping` must be a finite number > 0; got 0 (int)."),
        ({"damping": float("nan")}, "`damping` must be a finite number > 0"),
        (
            {"structural_damping": -0.1},
            "`structural_damping` must be a finite number >=",
        ),
        ({"hidden_distance": "l1"}, "`hidden_distance` must be one of 'squared', "),
        ({"max_cg_iterations": 0}, "`max_cg_iterations` must be an int >= 1"),
        ({"max_cg_iterations": 9.5}, "`max_cg_iterations` must be an int >= 1"),
        ({"preconditioner_exponent": -1}, "`preconditioner_exponent` must be a finite"),
        ({"warm_start": 1.1}, "`warm_start` must be a number from 0 to 1; got 1.1"),
    ],
)
def test_options(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        ltd.hessian_free(**arguments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"params": None}, "`params` must be given, as the model is about them"),
        ({"updates": jnp.ones(3)}, "`updates` must be a tree of real arrays like"),
        ({"loss": lambda z: z}, "`loss` must be a function that returns a real scalar"),
    ],
)
def test_an_update(given: dict[str, Any], message: str):
    tx = loose(ltd.hessian_free())
    call = {"updates": jnp.ones(2), "params": jnp.ones(2), **GIVEN, **given}
    updates, params = call.pop("updates"), call.pop("params")
    with pytest.raises(ValueError, match=re.escape(message)):
        tx.update(updates, tx.init(jnp.ones(2)), params, **call)


def test_structural_damping_needs_hidden_states():
    tx = loose(ltd.hessian_free(structural_damping=0.1))
    with pytest.raises(ValueError, match="`predict` must be a function that returns a"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), **GIVEN)


def test_the_functions_are_needed():
    tx = loose(ltd.hessian_free())
    with pytest.raises(TypeError, match="'predict' and 'loss'"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))
