"""What a step of a cell may do to the cell's variables."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.cells import Constant, ConstantCell, CountingCell, OwnCell
from tests.flax.models import ATOL, RTOL, F, H, X, leaves_of
from tests.recurrent.oracles import assert_close


def _decay(cell: Any, carry: Any, x: Any) -> Any:
    kernel = cell.dense_h.kernel
    kernel[...] = 0.9 * kernel[...]
    return OwnCell.__call__(cell, carry, x)


class Decaying(OwnCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        return _decay(self, carry, inputs)


class DecayingInside(OwnCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        return nnx.remat(_decay)(self, carry, inputs)


class Growing(OwnCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        h = self.next(carry, inputs)
        self.last = nnx.Intermediate(h)
        return h, h


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            Decaying,
            "keep the cell's parameters, .*; got new values of ['dense_h/kernel",
        ),
        (DecayingInside, "keep the cell's parameters, .* of ['dense_h/kernel']"),
        (Growing, "keep the cell's variables; .* added ['last'], removed []"),
    ],
)
def test_a_step_that_changes_what_it_must_keep(cell: Any, message: str, weight: float):
    layer = ltd.FlowRNN(cell(F, H, rngs=nnx.Rngs(0)), flow_weight=weight)
    pattern = re.escape("a step must " + message).replace(re.escape(".*"), ".*")
    with pytest.raises(ValueError, match=pattern):
        layer(X)


class Rematted(CountingCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        return nnx.remat(CountingCell.__call__)(self, carry, inputs)


class Jitted(CountingCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        return nnx.jit(CountingCell.__call__)(self, carry, inputs)


def test_a_step_inside_another_transformation_is_that_step():
    """It hands its parameters out as they were, and changes the rest as it should."""

    def loss(model: Any, x: Any) -> jax.Array:
        return jnp.sum(model(x) ** 2)

    ends = []
    for cell in (CountingCell, Rematted, Jitted):
        counting = cell(F, H, rngs=nnx.Rngs(0))
        layer = ltd.FlowRNN(counting, flow_weight=2.0)
        out = nnx.jit(nnx.value_and_grad(loss))(layer, X)
        ends.append(jax.tree.leaves(out) + leaves_of(layer)[1:])
        assert int(counting.steps[...]) == X.shape[1]
    for found in ends[1:]:
        assert_close(found, ends[0], RTOL, ATOL)


class CountingInLoop(OwnCell):
    """Its loop starts with the count in both places, and ends with it in neither."""

    def __init__(self, in_features: int, hidden_features: int, *, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features, rngs=rngs)
        self.steps = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, carry: Any, inputs: Any) -> Any:
        steps = self.steps[...]
        move = lambda _, pair: (pair[1], pair[1] + 1)
        self.steps[...] = jax.lax.fori_loop(0, 2, move, (steps, steps))[0]
        return super().__call__(carry, inputs)


def test_a_step_that_counts_in_a_loop_of_its_own():
    cell = CountingInLoop(F, H, rngs=nnx.Rngs(0))
    nnx.jit(lambda layer, x: layer(x))(ltd.FlowRNN(cell), X)
    assert int(cell.steps[...]) == X.shape[1]


class RemattedConstant(ConstantCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        return nnx.remat(ConstantCell.__call__)(self, carry, inputs)


def test_a_constant_inside_another_transformation_keeps_its_gradient():
    loss = lambda model, x: jnp.sum(model(x) ** 2)
    grad = nnx.jit(nnx.grad(loss, argnums=nnx.DiffState(0, Constant)))
    found, expected = (
        grad(ltd.FlowRNN(cell(F, H, rngs=nnx.Rngs(0)), flow_weight=2.0), X)
        for cell in (RemattedConstant, ConstantCell)
    )
    chex.assert_trees_all_close(found, expected, rtol=RTOL, atol=ATOL)
    assert all(jnp.max(jnp.abs(g)) > 1e-2 for g in jax.tree.leaves(expected))
