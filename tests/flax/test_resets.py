"""Resets in both layers: the layout of a call, and the cell's own initial carry."""

from functools import partial
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd

B, T, F, H = 3, 7, 2, 4
_rng = np.random.default_rng(0)
X: Any = np.float32(_rng.standard_normal((B, T, F)))
GIVEN: Any = np.float32(_rng.standard_normal((B, H)))
RESETS: Any = _rng.random((B, T)) < 0.3
LENGTHS: Any = np.array([7, 4, 6])


def nnx_layer(**options) -> Any:
    cell = nnx.GRUCell(F, H, rngs=nnx.Rngs(0))
    return ltd.FlowRNN(cell, **options), cell


def linen_layer(**options) -> Any:
    """The same behind Linen's interface: the layer bound to its variables."""
    rnn = ltd.linen.FlowRNN(nn.GRUCell(H), **options)
    variables = rnn.init(jax.random.key(0), X)
    cell = nn.GRUCell(H).bind({"params": variables["params"]["cell"]})
    return partial(rnn.apply, variables), cell


def by_hand(cell, x, fresh=0.0) -> tuple[Any, Any]:
    """Carries and outputs ``[B, T, H]``, from a loop in Python."""
    carry, carries, outputs = jnp.asarray(GIVEN), [], []
    for t in range(T):
        carry = jnp.where(RESETS[:, t, None], fresh, carry)
        carry, y = cell(carry, x[:, t])
        carries.append(carry)
        outputs.append(y)
    return jnp.stack(carries, 1), jnp.stack(outputs, 1)


@pytest.mark.parametrize("make", [nnx_layer, linen_layer])
def test_every_layout_gives_the_same(make):
    given = {"initial_carry": GIVEN, "resets": RESETS}
    time_first = {"initial_carry": GIVEN, "resets": RESETS.T, "time_major": True}
    backwards = {"initial_carry": GIVEN, "resets": RESETS[:, ::-1], "reverse": True}

    @jax.jit
    def run(x: Any) -> Any:
        rnn, cell = make(flow_weight=1.0)
        carries, outputs = by_hand(cell, x)
        lasts = carries[np.arange(B), LENGTHS - 1]
        return [
            (rnn(x, return_carry="all", **given), (carries, outputs)),
            (rnn(x, return_carry=True, **given), (carries[:, -1], outputs)),
            (rnn(x, return_carry=True, seq_lengths=LENGTHS, **given)[0], lasts),
            (rnn(x.swapaxes(0, 1), **time_first), outputs.swapaxes(0, 1)),
            (rnn(x[:, ::-1], **backwards), outputs),
            (rnn(x, reset_carry=0.5 * np.ones(H), **given), by_hand(cell, x, 0.5)[1]),
        ]

    for found, expected in run(X):
        chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_begins_anew_while_its_parameters_are_made():
    rnn = ltd.linen.FlowRNN(nn.GRUCell(H))

    @jax.jit
    def run(x: Any) -> Any:
        key = jax.random.key(0)
        outputs, variables = rnn.init_with_output(key, x, resets=RESETS)
        return outputs, rnn.apply(variables, x, resets=RESETS)

    chex.assert_trees_all_close(*run(X))


def reports(**call) -> list[ltd.LayerFlow]:
    """Of the NNX layer and of the Linen layer, each called so; one program."""

    @jax.jit
    def run(x: Any) -> list[ltd.LayerFlow]:
        rnn, _ = nnx_layer()
        (_, of_nnx), _ = ltd.value_and_grad(lambda rnn: jnp.sum(rnn(x, **call)))(rnn)
        linen = ltd.linen.FlowRNN(nn.GRUCell(H))
        params = linen.init(jax.random.key(0), x)
        apply: Any = linen.apply
        loss_fn = lambda params: jnp.sum(apply(params, x, **call))
        (_, of_linen), _ = ltd.linen.value_and_grad(loss_fn)(params)
        return [of_nnx[""], of_linen[""]]

    return run(X)


def test_reports_leave_resets_and_masked_steps_out():
    padding = np.arange(T) >= LENGTHS[:, None]
    for flow in reports(resets=RESETS, seq_lengths=LENGTHS):
        np.testing.assert_array_equal(flow.active, (~RESETS & ~padding).T)
        np.testing.assert_array_equal(flow.cut, RESETS.T)
    for flow in reports(mask=RESETS, seq_lengths=LENGTHS):
        np.testing.assert_array_equal(flow.active, (RESETS & ~padding).T)
        np.testing.assert_array_equal(flow.cut, False)


def test_unequal_steps_refuse_resets():
    def run(x: Any) -> Any:
        axes = nnx.StateAxes({...: nnx.Carry})
        return nnx_layer(state_axes=axes)[0](x, resets=RESETS)

    with pytest.raises(ValueError, match="`state_axes` must be the default"):
        jax.eval_shape(run, X)
