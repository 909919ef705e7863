"""`ltd.linen.value_and_grad` and `gradient_flow`: the loss's numbers, and Ω's."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn

import optax_ltd as ltd
from tests.flax.linen_models import (
    ATOL,
    KEYS,
    LENGTHS,
    RTOL,
    B,
    F,
    H,
    Net,
    OwnCell,
    Shared,
    T,
    X,
    last_squares,
    pure,
    squares,
)
from tests.recurrent.oracles import assert_close

FlowRNN = ltd.linen.FlowRNN


def own(**options: Any) -> tuple[FlowRNN, Any]:
    layer = FlowRNN(OwnCell(), **options)
    return layer, jax.jit(layer.init)(KEYS, X)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_loss_and_gradients_are_those_of_jax(weight: float):
    model = Net(FlowRNN, {"flow_weight": weight})
    loss = squares(model)

    @jax.jit
    def both(x: jax.Array) -> Any:
        variables = model.init(KEYS, x)
        found = ltd.linen.value_and_grad(loss)(variables, x)
        return found, jax.value_and_grad(loss)(variables, x)

    ((value, flow), grads), expected = both(X)
    assert_close((value, grads), expected, RTOL, ATOL)
    assert list(flow) == ["FlowRNN_0", "FlowRNN_1", "first"]
    assert all(layer.gains.shape == (T, B) for layer in flow.values())


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_what_a_layer_reports(weight: float, lengths: Any):
    layer, variables = own(flow_weight=weight)
    mask = None if lengths is None else jnp.arange(T)[:, None] < lengths
    loss = last_squares(layer, seq_lengths=lengths)

    def recorded(record: Any) -> Any:
        params, start = variables["params"]["cell"], jnp.full((B, H), 0.1)
        inputs, options = jnp.swapaxes(X, 0, 1), {"flow_record": record, "mask": mask}
        _, y = ltd.unroll(pure(OwnCell()), params, start, inputs, **options)
        return jnp.sum(y[-1] ** 2) / B

    record = jax.jit(jax.grad(recorded))(ltd.FlowRecord.zeros((T, B)))
    report = ltd.linen.gradient_flow(loss, variables, X)
    assert float(report.loss) == pytest.approx(float(loss(variables, X)), rel=1e-6)
    expected = ltd.LayerFlow.from_record(record)
    assert_close(report.layers[""], expected, RTOL, ATOL)
    assert float(expected.omega) > 0.1


def test_a_layer_called_twice_and_a_cell_of_two_layers():
    """The first layer's Ω is the sum of its calls, its gains are their mean."""
    model = Shared(FlowRNN)
    variables = jax.jit(model.init)(KEYS, X)
    cell = pure(nn.SimpleCell(F))

    def loss(records: Any) -> Any:
        y = jnp.swapaxes(X, 0, 1)
        for record in records:
            params, start = variables["params"]["cell"], jnp.zeros((B, F))
            _, y = ltd.unroll(cell, params, start, y, flow_record=record)
        return jnp.sum(y[-1] ** 2) / B

    zeros = ltd.FlowRecord.zeros((T, B))
    one, two, three = jax.jit(jax.grad(loss))((zeros,) * 3)
    layers = ltd.linen.gradient_flow(squares(model), variables, X).layers
    assert list(layers) == ["one", "two"]
    assert_close(layers["two"], ltd.LayerFlow.from_record(three), RTOL, ATOL)
    assert_close(layers["one"].omega, one.omega + two.omega, RTOL)
    assert_close(layers["one"].gains, (one.gains + two.gains) / 2, RTOL)


def test_in_a_jitted_train_step_it_traces_once():
    layer, variables = own(flow_weight=1.0)
    tx = optax.chain(ltd.clip_or_random_step(1.0, key=0), optax.adam(1e-2))

    def loss_fn(variables: Any, x: Any, factor: float) -> Any:
        y: Any = layer.apply(variables, x)
        return factor * jnp.sum(y[:, -1] ** 2), {"last": y[:, -1]}

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(variables: Any, state: Any, x: Any) -> Any:
        grad = ltd.linen.value_and_grad(loss_fn, has_aux=True)
        ((loss, aux), flow), grads = grad(variables, x, factor=2.0)
        updates, state = tx.update(grads, state, variables)
        assert aux["last"].shape == (B, H)
        assert flow[""].omega.shape == ()
        return optax.apply_updates(variables, updates), state, loss

    state, losses = tx.init(variables), []
    for _ in range(4):
        variables, state, loss = step(variables, state, X)
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_under_remat():
    """What is computed twice is reported once."""
    reports = []
    for around in (lambda rnn: rnn, nn.remat):
        model = Net(FlowRNN, {"flow_weight": 1.0}, around)
        variables = jax.jit(model.init)(KEYS, X)
        reports.append(ltd.linen.gradient_flow(squares(model), variables, X).layers)
    assert_close(reports[1], reports[0], RTOL, ATOL)


def test_what_cannot_be_seen():
    plain = nn.RNN(OwnCell())
    variables = plain.init(KEYS, X)
    message = "at least one optax_ltd.linen.FlowRNN or .scan, .*; got none"
    with pytest.raises(ValueError, match=message):
        ltd.linen.gradient_flow(squares(plain), variables, X)
    layer = FlowRNN(OwnCell())
    loss = lambda v, x: squares(layer)(v, x) + squares(layer)(v, x[:, :3])
    with pytest.raises(ValueError, match=re.escape("(5, 3); got (3, 3)")):
        ltd.linen.gradient_flow(loss, variables, X)
    kept: Any = nn.jit(Shared)(FlowRNN)
    variables = jax.jit(kept.init)(KEYS, X)
    with pytest.raises(
        ValueError, match=r"under flax.linen.jit .*; got \['one', 'two'"
    ):
        ltd.linen.value_and_grad(squares(kept))(variables, X)
