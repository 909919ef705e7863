"""The gradient of Ω against two oracles, in float64."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import CELLS, B, Case, T, case, loss_of
from tests.recurrent.oracles import (
    VARIANTS,
    Frozen,
    assert_close,
    flow_loss,
    frozen,
    gains_by_jacobian,
    gains_by_vjp,
    minus,
    omega,
    omegas,
    plain_loss,
)
from tests.slow import slow_but

WEIGHT = 1.7
# Float64 throughout; the loss's own gradient, a few times larger, is taken off again.
RTOL, ATOL = 1e-9, 1e-12

# Form and reduction depend on nothing of the cell: each cell has two of the four pairs.
DIAGONALS = VARIANTS[::3], VARIANTS[1:3]
VARIANTS_OF = {name: DIAGONALS[i % 2] for i, name in enumerate(CELLS)}
VARIANTS_OF["simple"] = VARIANTS


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@cache
def _held(name: str) -> tuple[Case, Frozen, Any]:
    """The case, what Ω holds constant, and the loss's own gradient."""
    c = case(name, np.float64)
    args = (c.params, c.carry, c.inputs)
    plain = jax.grad(lambda *a: plain_loss(c, loss_of, *a), (0, 1, 2))
    return c, *jax.jit(lambda: (frozen(c, loss_of), plain(*args)))()


@cache
def _flow(name: str, form: str, reduction: str) -> tuple[Any, ltd.FlowRecord]:
    """Gradients in params, carry, inputs through `unroll`, and its record."""
    c, *_ = _held(name)

    def loss(params: Any, carry: Any, inputs: Any, record: ltd.FlowRecord) -> Any:
        return flow_loss(
            c,
            loss_of,
            params,
            carry,
            inputs,
            flow_weight=WEIGHT,
            flow_form=form,
            flow_reduction=reduction,
            flow_record=record,
        )

    record = ltd.FlowRecord.zeros((T, B))
    grads = jax.grad(loss, (0, 1, 2, 3))
    *grads, record = jax.jit(grads)(c.params, c.carry, c.inputs, record)
    return tuple(grads), record


def _penalty_gradient(name: str, form: str, reduction: str) -> Any:
    grads, _ = _flow(name, form, reduction)
    _, _, plain = _held(name)
    return jax.tree.map(lambda x: x / WEIGHT, minus(grads[0], plain[0]))


@cache
def _gains(name: str) -> Any:
    """From whole Jacobians, as a function of the parameters."""
    c, held, _ = _held(name)
    return jax.jit(lambda params: gains_by_jacobian(c, params, held))


_omegas = jax.jit(omegas)


@cache
def _explicit(name: str) -> list[Any]:
    """∇Ω of each variant by ordinary reverse mode through the explicit formula."""
    c, held, _ = _held(name)
    grads = jax.jit(jax.jacrev(lambda p: omegas(gains_by_vjp(c, p, held))))(c.params)
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, grads))
    return [jax.tree.unflatten(tree, each) for each in zip(*leaves, strict=True)]


@cache
def _differences(name: str) -> list[tuple[str, Any, Any]]:
    """Central differences of all variants along a random direction of each leaf."""
    c, *_ = _held(name)
    value = lambda params: np.asarray(_omegas(_gains(name)(params)))
    rng, step, found = np.random.default_rng(3), 1e-5, []
    for key, leaf in c.params.items():
        direction = rng.normal(size=leaf.shape)
        up = value({**c.params, key: np.add(leaf, step * direction)})
        down = value({**c.params, key: np.subtract(leaf, step * direction)})
        found.append((key, direction, (up - down) / (2 * step)))
    return found


def _check_explicit_formula(name: str, form: str, reduction: str) -> None:
    expected = _explicit(name)[VARIANTS.index((form, reduction))]
    found = _penalty_gradient(name, form, reduction)
    assert_close(found, expected, RTOL, ATOL)
    assert max(np.max(np.abs(g)) for g in jax.tree.leaves(found)) > 1e-3


def _check_finite_differences(name: str, form: str, reduction: str) -> None:
    """Ω from whole Jacobians, moved in each parameter."""
    found = _penalty_gradient(name, form, reduction)
    for key, direction, slopes in _differences(name):
        along = float(np.sum(found[key] * direction))
        slope = float(slopes[VARIANTS.index((form, reduction))])
        # Truncation is O(step²), rounding O(1e-16 / step).
        assert along == pytest.approx(slope, rel=1e-6, abs=1e-8)


def _check_carry_and_inputs(name: str, form: str, reduction: str) -> None:
    """Nothing of Ω reaches them."""
    _, _, plain = _held(name)
    grads, _ = _flow(name, form, reduction)
    assert_close(grads[1:], plain[1:], RTOL, ATOL)


def _check_record(name: str, form: str, reduction: str) -> None:
    c, held, _ = _held(name)
    _, record = _flow(name, form, reduction)
    gains = _gains(name)(c.params)
    squares = [np.sum(np.square(x), -1) for x in jax.tree.leaves(held.errors)]
    # The record is float32.
    assert_close(record.error_norms, np.sqrt(sum(squares)), 1e-6)
    assert_close(record.gains, gains, 1e-6)
    index = VARIANTS.index((form, reduction))
    assert_close(record.omega, _omegas(gains)[index], 1e-6)
    assert np.all(np.asarray(record.active) == 1)
    assert record.gains.dtype == jnp.float32


def _check_all(name: str, form: str, reduction: str) -> None:
    _check_explicit_formula(name, form, reduction)
    _check_finite_differences(name, form, reduction)
    _check_carry_and_inputs(name, form, reduction)
    _check_record(name, form, reduction)


@pytest.mark.parametrize("name", slow_but(["simple", "lstm", "aside"], CELLS))
def test_against_every_oracle(name: str):
    """A cell's variants in one test, since test workers share no compiled functions."""
    for form, reduction in VARIANTS_OF[name]:
        _check_all(name, form, reduction)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS[1:])
def test_the_other_variants_against_every_oracle(name: str):
    for form, reduction in set(VARIANTS) - set(VARIANTS_OF[name]):
        _check_all(name, form, reduction)


# The carries of the other cells are those of the simple one.
@pytest.mark.parametrize("name", ["simple", "gru", "lstm"])
def test_flow_gains_equal_those_of_whole_jacobians(name: str):
    c, held, _ = _held(name)
    trees = (c.params, held.carries, held.inputs, held.errors)
    gains = jax.jit(lambda *trees: ltd.flow_gains(c.cell, *trees))(*trees)
    assert_close(gains, _gains(name)(c.params), RTOL)


@pytest.mark.parametrize(("form", "reduction"), VARIANTS)
def test_flow_penalty_is_the_formula(form: Any, reduction: Any):
    gains = jnp.asarray([[0.5, 2.0], [1.0, 0.0], [1.5, 3.0]])
    mask = jnp.asarray([[True, True], [True, False], [False, True]])
    for active in (None, mask):
        found = ltd.flow_penalty(gains, active, form=form, reduction=reduction)
        assert_close(found, omega(gains, form, reduction, active), RTOL)
