"""Cells in the styles of other libraries, as plain functions."""

import dataclasses
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import Case, case, loss_of, simple
from tests.recurrent.oracles import (
    assert_close,
    flow_loss,
    frozen,
    gains_by_vjp,
    minus,
    omega,
    plain_loss,
)

WEIGHT = 1.7


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["input", "recurrent", "bias"],
    meta_fields=["activation", "use_bias"],
)
@dataclasses.dataclass(frozen=True)
class ModuleCell:
    """As in Equinox: a module is a tree of its arrays, with other fields static."""

    input: Any
    recurrent: Any
    bias: Any
    activation: Any = jnp.tanh
    use_bias: bool = True

    def __call__(self, x: jax.Array, h: jax.Array) -> jax.Array:
        shift = self.bias if self.use_bias else 0
        return self.activation(x @ self.input + h @ self.recurrent + shift)


def _by_module(module: ModuleCell, h: Any, x: Any) -> Any:
    h = module(x, h)
    return h, h


class Transformed:
    """As in Haiku: pure `init` and `apply`, and parameters by module and name."""

    @staticmethod
    @jax.jit
    def init(key: Any, x: jax.Array, h: jax.Array) -> dict[str, dict[str, jax.Array]]:
        first, second = jax.random.split(key)
        return {
            "vanilla_rnn/~/input_to_hidden": {
                "w": jax.random.normal(first, (x.shape[-1], h.shape[-1])),
                "b": jnp.ones(h.shape[-1]) / 2,
            },
            "vanilla_rnn/~/hidden_to_hidden": {
                "w": jax.random.normal(second, (h.shape[-1], h.shape[-1])) / 2,
            },
        }

    @staticmethod
    def apply(params: Any, x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Output before state, the other way round than here."""
        there = params["vanilla_rnn/~/input_to_hidden"]
        back = params["vanilla_rnn/~/hidden_to_hidden"]
        h = jax.nn.silu(x @ there["w"] + there["b"] + h @ back["w"])
        return 2 * h, h


def _by_apply(params: Any, h: Any, x: Any) -> Any:
    out, h = Transformed.apply(params, x, h)
    return h, out


@cache
def _cases() -> dict[str, tuple[Case, Any]]:
    """Each style, and which of its parameters Ω shall act on when asked for some."""
    by_hand = case("simple", np.float64)
    data: Any = (by_hand.carry, by_hand.inputs)
    arrays = by_hand.params
    module = ModuleCell(arrays["U"], arrays["W"], arrays["b"])
    params = Transformed.init(jax.random.key(0), by_hand.inputs[0], by_hand.carry)
    same, beside = (lambda h, y: h), (lambda h, y: y)
    return {
        "module": (
            Case(_by_module, same, module, *data),
            ModuleCell(False, True, False),
        ),
        "init and apply": (
            Case(_by_apply, beside, params, *data),
            {key: "hidden_to_hidden" in key for key in params},
        ),
        "by hand": (
            Case(simple, same, arrays, *data),
            {"W": True, "U": False, "b": False},
        ),
    }


STYLES = ["module", "init and apply", "by hand"]


def _penalty_gradient(c: Case) -> Any:
    @jax.jit
    def gradient(params: Any) -> Any:
        held = frozen(c, loss_of)
        penalty = lambda p: omega(gains_by_vjp(c, p, held), "ratio", "sum")
        return jax.grad(penalty)(params)

    return gradient(c.params)


@pytest.mark.parametrize("style", STYLES)
def test_outputs_are_those_of_scan(style: str):
    c, _ = _cases()[style]

    @jax.jit
    def both(params: Any, weight: Any) -> Any:
        found = ltd.unroll(c.cell, params, c.carry, c.inputs, flow_weight=weight)
        return found, jax.lax.scan(partial(c.cell, params), c.carry, c.inputs)

    found, expected = both(c.params, WEIGHT)
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("style", STYLES)
def test_gradient_is_that_of_the_explicit_formula(style: str):
    """In the params as they are: a module, a dict of dicts, a dict."""
    c, some = _cases()[style]

    @jax.jit
    def grads(params: Any, weight: Any) -> Any:
        def of(loss: Any, **options: Any) -> Any:
            return jax.grad(lambda p: loss(c, loss_of, p, c.carry, c.inputs, **options))

        options = {"flow_weight": weight}
        return (
            of(plain_loss)(params),
            of(flow_loss, **options)(params),
            of(flow_loss, flow_params=some, **options)(params),
            of(flow_loss, flow_params="recurrent", **options)(params),
        )

    plain, on, on_some, on_recurrent = grads(c.params, WEIGHT)
    expected = jax.tree.map(lambda g: WEIGHT * np.asarray(g), _penalty_gradient(c))
    assert isinstance(on, type(c.params))
    assert_close(minus(on, plain), expected, 1e-9, 1e-12)
    assert all(np.max(np.abs(g)) > 1e-3 for g in jax.tree.leaves(expected))
    flags = jax.tree.broadcast(some, c.params)
    chosen = jax.tree.map(lambda flag, g: flag * g, flags, expected)
    for found in (on_some, on_recurrent):
        assert_close(minus(found, plain), chosen, 1e-9, 1e-12)
