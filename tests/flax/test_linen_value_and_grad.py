"""`ltd.linen.value_and_grad` and `gradient_flow`: the loss's numbers, and Ω's."""

import functools
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
    drawn,
    last_squares,
    own_params,
    pure,
    squares,
)
from tests.recurrent.oracles import assert_close
from tests.slow import slow_but

FlowRNN = ltd.linen.FlowRNN


@pytest.mark.parametrize("weight", slow_but([2.0], [0.0, 2.0]))
def test_loss_and_gradients_are_those_of_jax(weight: float):
    model = Net(FlowRNN, {"flow_weight": weight})
    loss = squares(model)

    @jax.jit
    def both(variables: Any, x: jax.Array) -> Any:
        found = ltd.linen.value_and_grad(loss)(variables, x)
        return found, jax.value_and_grad(loss)(variables, x)

    ((value, flow), grads), expected = both(drawn(model, X), X)
    assert_close((value, grads), expected, RTOL, ATOL)
    assert list(flow) == ["FlowRNN_0", "FlowRNN_1", "first"]
    assert all(layer.gains.shape == (T, B) for layer in flow.values())


@functools.cache
def _expected_report() -> ltd.LayerFlow:
    """What `unroll` records for the loss below of a layer of an OwnCell."""
    params, start = own_params()["params"]["cell"], jnp.full((B, H), 0.1)
    inputs, mask = jnp.swapaxes(X, 0, 1), jnp.arange(T)[:, None] < LENGTHS

    def recorded(record: Any) -> Any:
        options: Any = {"flow_record": record, "mask": mask}
        _, y = ltd.unroll(pure(OwnCell()), params, start, inputs, **options)
        return jnp.sum(y[-1] ** 2) / B

    record = jax.jit(jax.grad(recorded))(ltd.FlowRecord.zeros((T, B)))
    return ltd.LayerFlow.from_record(record)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_what_a_layer_reports(weight: float):
    layer = FlowRNN(OwnCell(), flow_weight=weight)
    loss = last_squares(layer, seq_lengths=LENGTHS)
    report = ltd.linen.gradient_flow(loss, own_params(), X)
    value = jax.jit(loss)(own_params(), X)
    assert float(report.loss) == pytest.approx(float(value), rel=1e-6)
    expected = _expected_report()
    assert_close(report.layers[""], expected, RTOL, ATOL)
    assert float(expected.omega) > 0.1


def test_a_layer_called_twice_and_a_cell_of_two_layers():
    """The first layer's Ω is the sum of its calls, its gains are their mean."""
    model = Shared(FlowRNN)
    variables = drawn(model, X)
    cell = pure(nn.SimpleCell(F))

    def loss(records: Any) -> Any:
        y = jnp.swapaxes(X, 0, 1)
        for record in records:
            params, start = variables["params"]["cell"], jnp.zeros((B, F))
            _, y = ltd.unroll(cell, params, start, y, flow_record=record)
        return jnp.sum(y[-1] ** 2) / B

    zeros = ltd.FlowRecord.zeros((T, B))
    one, two, three = jax.device_get(jax.jit(jax.grad(loss))((zeros,) * 3))
    layers = ltd.linen.gradient_flow(squares(model), variables, X).layers
    assert list(layers) == ["one", "two"]
    assert_close(layers["two"], ltd.LayerFlow.from_record(three), RTOL, ATOL)
    assert_close(layers["one"].omega, one.omega + two.omega, RTOL)
    assert_close(layers["one"].gains, (one.gains + two.gains) / 2, RTOL)


def test_in_a_jitted_train_step_it_traces_once():
    layer, variables = FlowRNN(OwnCell(), flow_weight=1.0), own_params()
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
    remat: Any = nn.remat(FlowRNN)
    expected, found = (
        ltd.linen.gradient_flow(squares(model), own_params(), X).layers
        for model in (rnn(OwnCell(), flow_weight=1.0) for rnn in (FlowRNN, remat))
    )
    assert_close(found, expected, RTOL, ATOL)


def test_what_cannot_be_seen():
    plain, variables = nn.RNN(OwnCell()), own_params()
    message = "at least one optax_ltd.linen.FlowRNN or .scan, .*; got none"
    with pytest.raises(ValueError, match=message):
        ltd.linen.gradient_flow(squares(plain), variables, X)
    layer = FlowRNN(OwnCell())
    loss = lambda v, x: squares(layer)(v, x) + squares(layer)(v, x[:, :3])
    with pytest.raises(ValueError, match=re.escape("(5, 3); got (3, 3)")):
        ltd.linen.gradient_flow(loss, variables, X)
    kept: Any = nn.jit(Shared)(FlowRNN)
    variables = drawn(kept, X)
    with pytest.raises(
        ValueError, match=r"under flax.linen.jit .*; got \['one', 'two'"
    ):
        ltd.linen.value_and_grad(squares(kept))(variables, X)


class Scanned(nn.Module):
    """A layer that is called three times, of one set of parameters or of three."""

    around: str = "scan"
    stacked: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def run(layer: Any, x: Any) -> Any:
            return layer(x), None

        layer = FlowRNN(nn.SimpleCell(F), name="layers")
        axes: Any = {"params": 0} if self.stacked else {}
        share: Any = {} if self.stacked else {"variable_broadcast": "params"}
        rngs: Any = {"params": self.stacked}
        if self.around == "scan":
            scan = nn.scan(run, axes, split_rngs=rngs, length=3, **share)
            return scan(layer, x)[0][:, -1]
        over: Any = None
        vmap = nn.vmap(run, axes, rngs, over, axis_size=3)
        return vmap(layer, x)[0][0][:, -1]


@pytest.mark.parametrize("around", ["scan", "vmap"])
def test_stacked_parameters_are_refused(around: str):
    model = Scanned(around)
    variables = drawn(model, X)
    message = "parameters of its own .*; got a stack at 'layers'"
    with pytest.raises(ValueError, match=message):
        ltd.linen.value_and_grad(squares(model))(variables, X)
    with pytest.raises(ValueError, match=message):
        ltd.linen.gradient_flow(squares(model), variables, X)


def test_a_layer_in_a_loop_reports_the_mean_of_its_calls():
    model = Scanned(stacked=False)
    variables = drawn(model, X)
    (_, flow), _ = ltd.linen.value_and_grad(squares(model))(variables, X)
    assert flow["layers"].gains.shape == (T, B)


def test_argnums():
    layer = FlowRNN(OwnCell(), flow_weight=1.0)
    variables = drawn(layer, X)
    loss = lambda x, scale, variables: scale * squares(layer)(variables, x)
    args = X, jnp.float32(2.0), variables
    for argnums in (2, -1, (2, 0), [1]):
        value, grads = ltd.linen.value_and_grad(loss, argnums)(*args)
        expected = jax.value_and_grad(loss, argnums)(*args)
        assert_close((value[0], grads), expected, RTOL, ATOL)
        assert jax.tree.structure(grads) == jax.tree.structure(expected[1])
    with pytest.raises(ValueError, match=r"`holomorphic` must be False, .*; got True"):
        ltd.linen.value_and_grad(loss, holomorphic=True)
