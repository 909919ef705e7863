"""Ω with the slopes of the cell held constant, against cells whose slopes are frozen.

A cell that is linear about where it stands, with slopes that no derivative follows, has
the values and the Jacobians of the cell, and its Ω has no other gradient than that with
slopes held.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import H, case, loss_of

_held = jax.lax.stop_gradient


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _tanh(a: Any) -> Any:
    value = _held(jnp.tanh(a))
    return value + (1 - value**2) * (a - _held(a))


def _sigmoid(a: Any) -> Any:
    value = _held(jax.nn.sigmoid(a))
    return value + value * (1 - value) * (a - _held(a))


def _times(a: Any, b: Any) -> Any:
    """A product of two factors that move with the carry."""
    return _held(a) * b + a * _held(b) - _held(a * b)


def _simple(p: Any, h: Any, x: Any) -> Any:
    h = _tanh(x @ p["U"] + p["b"] + h @ p["W"])
    return h, h


def _gru(p: Any, h: Any, x: Any) -> Any:
    a, g = x @ p["U"] + p["b"], h @ p["W"]
    r, z = (_sigmoid(a[..., i : i + H] + g[..., i : i + H]) for i in (0, H))
    n = _tanh(a[..., 2 * H :] + _times(r, g[..., 2 * H :]))
    h = _times(1 - z, n) + _times(z, h)
    return h, h


def _lstm(p: Any, carry: Any, x: Any) -> Any:
    c, h = carry
    i, f, g, o = jnp.split(x @ p["U"] + p["b"] + h @ p["W"], 4, -1)
    c = _times(_sigmoid(f), c) + _times(_sigmoid(i), _tanh(g))
    h = _times(_sigmoid(o), _tanh(c))
    return (c, h), h


def _gradient(cell: Callable[..., Any], name: str, **options: Any) -> Any:
    given = case(name, np.float64)

    def loss(params: Any, inputs: Any) -> jax.Array:
        start = given.carry
        return loss_of(*ltd.unroll(cell, params, start, inputs, **options))

    return jax.jit(jax.grad(loss, (0, 1)))(given.params, given.inputs)


def _check(found: Any, expected: Any) -> None:
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "frozen", "options"),
    [
        ("simple", _simple, {}),
        pytest.param(
            "gru",
            _gru,
            {"flow_form": "squared_ratio", "flow_reduction": "mean"},
            marks=pytest.mark.slow,
        ),
        pytest.param("lstm", _lstm, {}, marks=pytest.mark.slow),
        ("lstm", _lstm, {"flow_groups": ("cell", "hidden")}),
        ("gru", _gru, {"remat": True}),
    ],
)
def test_it_is_that_of_a_cell_with_frozen_slopes(
    name: str, frozen: Callable[..., Any], options: dict[str, Any]
):
    options = {"flow_weight": 0.7, **options}
    found = _gradient(case(name).cell, name, flow_slopes="held", **options)
    _check(found, _gradient(frozen, name, **options))
    moving = _gradient(case(name).cell, name, **options)
    assert np.abs(found[0]["W"] - moving[0]["W"]).max() > 1e-3


def test_a_share_of_the_steps_has_held_slopes_too():
    options: Any = {
        "flow_weight": 0.7,
        "flow_fraction": 0.5,
        "flow_key": jax.random.key(1),
    }
    found = _gradient(case("simple").cell, "simple", flow_slopes="held", **options)
    _check(found, _gradient(_simple, "simple", **options))


def test_parameters_beside_the_slopes_are_followed():
    """J = diag(a) φ', of which a is followed and φ' is not; b stands in φ' alone."""

    def cell(activation: Any, p: Any, h: Any, x: Any) -> Any:
        h = activation(p["W"][0] * h + x @ p["U"] + p["b"])
        return h, h

    gradients = [
        _gradient(
            lambda p, h, x: cell(jnp.tanh, p, h, x),
            "simple",
            flow_weight=weight,
            flow_slopes="held",
        )[0]
        for weight in (0.0, 1.0)
    ]
    off, on = gradients
    assert np.abs(on["W"][0] - off["W"][0]).min() > 1e-3
    np.testing.assert_allclose(on["b"], off["b"], rtol=1e-12)
    np.testing.assert_allclose(on["U"], off["U"], rtol=1e-12)


def test_what_counts_beside_the_hidden_state_is_no_slope():
    """A counter in the carry is as constant as an input is."""
    given = case("simple", np.float64)

    def gradient(weight: float, slopes: Any) -> Any:
        def cell(p: Any, carry: Any, x: Any) -> Any:
            step, h = carry
            decay = jnp.exp(-p["b"] * step)
            h = (h @ p["W"] + x @ p["U"]) * decay
            return (step + 1, h), h

        def loss(params: Any) -> jax.Array:
            start = (jnp.zeros((), int), given.carry)
            _, y = ltd.unroll(
                cell,
                params,
                start,
                given.inputs,
                flow_weight=weight,
                flow_slopes=slopes,
            )
            return jnp.sum(y[-1] ** 2)

        return jax.jit(jax.grad(loss))(given.params)

    # The cell is linear: there is no slope to hold.
    _check(gradient(1.0, "held"), gradient(1.0, "moving"))
    assert np.abs(gradient(1.0, "held")["b"] - gradient(0.0, "held")["b"]).max() > 1e-3


def test_a_cell_may_add_at_some_places():
    def cell(p: Any, h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ p["W"] + p["b"]).at[..., 0].add(x[..., 0])
        return h, h

    def frozen(p: Any, h: Any, x: Any) -> Any:
        h = _tanh(h @ p["W"] + p["b"]).at[..., 0].add(x[..., 0])
        return h, h

    found = _gradient(cell, "simple", flow_weight=0.7, flow_slopes="held")
    _check(found, _gradient(frozen, "simple", flow_weight=0.7))


@jax.custom_vjp
def _opaque(a: jax.Array) -> jax.Array:
    return jnp.tanh(a)


_opaque.defvjp(lambda a: (jnp.tanh(a), jnp.tanh(a)), lambda y, ct: (ct * (1 - y * y),))


@pytest.mark.parametrize(
    ("wrap", "unit", "name"),
    [
        (lambda f: f, _opaque, "custom_vjp_call"),
        (jax.checkpoint, jnp.tanh, "remat"),
    ],
)
def test_slopes_that_cannot_be_held_are_refused(wrap: Any, unit: Any, name: str):
    @wrap
    def cell(p: Any, h: Any, x: Any) -> Any:
        h = unit(x @ p["U"] + p["b"] + h @ p["W"])
        return h, h

    with pytest.raises(NotImplementedError, match=rf"inside of '{name}"):
        _gradient(cell, "simple", flow_weight=1.0, flow_slopes="held")
    _gradient(cell, "simple", flow_weight=0.0, flow_slopes="held")
