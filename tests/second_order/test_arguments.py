"""Bad arguments are refused by name, with what is required and what came."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.second_order.factories import FRESH_STATE, functions, gradient_of_loss
from tests.transforms.factories import PARAMS, flat, loose

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
        *(
            ({name: made}, f"`{name}` must be a function that returns a real scalar")
            for name in ("loss", "value_fn")
            for made in (
                lambda z: z,
                lambda z: z[:1],
                lambda z: (z[0],),
                lambda z: z[0] * 1j,
                lambda z: None,
                lambda z: 1,
            )
        ),
        ({"predict": None}, "`predict` must be a function, given to `update`; got"),
        ({"loss": None}, "`loss` must be a function, given to `update`; got None"),
        ({"value_fn": 3}, "`value_fn` must be a function or None; got 3 (int)."),
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
    with pytest.raises(ValueError, match=r"`predict` must be a function.*static_args"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), **GIVEN)
    for hidden, came in ((jnp.ones((3, 2)), r"\[\(3,\)\]"), (None, r"\[\]")):
        given = {**GIVEN, "predict": lambda p, hidden=hidden: (p, hidden)}
        told = rf"along the first axis, as .* have them, \[\(2,\)\]; got {came}\."
        with pytest.raises(ValueError, match=told):
            tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), **given)


def test_a_constant_loss_of_python_is_one():
    tx, w = loose(ltd.hessian_free()), jnp.ones(2)
    given = {**GIVEN, "loss": lambda z: 1.0}
    step, _ = tx.update(jnp.ones(2), tx.init(w), w, **given)
    np.testing.assert_array_equal(step, 0)


def test_where_a_leaf_is_wrong():
    product = lambda params, vector: ltd.gauss_newton_product(
        lambda p: p, lambda z: jnp.ones(()), params, vector
    )
    good, bad = jnp.ones(2), jnp.ones(2) * 1j
    told = "`params` must be a tree of real arrays"
    with pytest.raises(ValueError, match=f"^{told}; got"):
        product(bad, bad)
    with pytest.raises(ValueError, match=rf"^{told}; at \['a'\]; got"):
        product({"a": bad}, {"a": bad})
    told = "`vector` must be a tree of real arrays like `params`,"
    with pytest.raises(ValueError, match=rf"^{told} of shape \(2,\); got"):
        product(good, jnp.ones(3))
    with pytest.raises(ValueError, match=rf"^{told} at \['a'\] of shape \(2,\); got"):
        product({"a": good}, {"a": jnp.ones(3)})


def test_defaults_are_those_of_the_papers():
    """λ = .1 and a share of .95 (2011 and 2012), an exponent of 3/4 (2010)."""
    assert FRESH_STATE.search.damping == np.float32(0.1)
    gradient = gradient_of_loss()

    @jax.jit
    def second_step(options: dict[str, Any]) -> Any:
        # One iteration, as many would come to the minimum all the same.
        tx = loose(ltd.hessian_free(max_cg_iterations=1, **options))
        given = functions("hessian_free")
        _, state = tx.update(gradient, FRESH_STATE, PARAMS, **given)
        return tx.update(gradient, state, PARAMS, **given)[0]

    expected = flat(second_step({}))
    for exponent, share in ((0.75, 0.95), (0.7, 0.95), (0.75, 0.9)):
        options = {"preconditioner_exponent": exponent, "warm_start": share}
        same = np.allclose(flat(second_step(options)), expected, rtol=1e-4)
        assert same == ((exponent, share) == (0.75, 0.95)), options
