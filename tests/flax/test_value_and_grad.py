"""`ltd.value_and_grad` and `ltd.gradient_flow`: the loss's own numbers, and Ω's."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import (
    ATOL,
    LENGTHS,
    RTOL,
    B,
    F,
    H,
    Stacked,
    T,
    Twice,
    X,
    assert_unchanged,
    leaves_of,
    pure,
    simple_layer,
    squares,
)
from tests.recurrent.oracles import assert_close, omega
from tests.slow import slow_but

MASK = np.arange(T)[:, None] < np.asarray(LENGTHS)


@functools.cache
def _record(masked: bool) -> tuple[ltd.FlowRecord, jax.Array]:
    """What `unroll` records for `_last` of a `simple_layer`, and Ω by its formula."""
    params, cell = pure(simple_layer().cell)

    def loss(record: Any) -> Any:
        inputs, start = jnp.swapaxes(X, 0, 1), jnp.zeros((B, H))
        mask: Any = MASK if masked else None
        _, y = ltd.unroll(cell, params, start, inputs, flow_record=record, mask=mask)
        return jnp.sum(y[-1] ** 2) / B

    @jax.jit
    def record_and_omega(zeros: ltd.FlowRecord) -> Any:
        record = jax.grad(loss)(zeros)
        active = MASK if masked else None
        return record, omega(record.gains, "ratio", "sum", active)

    return record_and_omega(ltd.FlowRecord.zeros((T, B)))


def _last(model: Any, x: Any, seq_lengths: Any = None) -> Any:
    return jnp.sum(model(x, seq_lengths=seq_lengths)[:, -1] ** 2) / B


@pytest.mark.parametrize("weight", slow_but([2.0], [0.0, 2.0]))
def test_loss_and_gradients_are_those_of_nnx(weight: float):
    model = Stacked((weight, weight))
    other = nnx.clone(model)
    (loss, flow), grads = nnx.jit(ltd.value_and_grad(squares))(model, X)
    expected = nnx.jit(nnx.value_and_grad(squares))(other, X)
    assert_close((loss, grads), expected, RTOL, ATOL)
    assert list(flow) == ["rnns/0", "rnns/1"]
    assert_unchanged(leaves_of(other), model)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_what_a_layer_reports(weight: float):
    record, expected = _record(masked=True)
    report = nnx.jit(ltd.value_and_grad(_last))
    (_, flow), _ = report(simple_layer(flow_weight=weight), X, seq_lengths=LENGTHS)
    seen = flow[""]
    np.testing.assert_array_equal(seen.active, MASK)
    assert_close(seen.error_norms, record.error_norms, RTOL)
    assert_close(seen.gains, np.where(MASK, record.gains, 1), RTOL)
    assert_close(seen.omega, expected, RTOL)
    assert float(seen.active_fraction) == pytest.approx(MASK.mean())


def test_aux_arguments_and_keywords():
    layer = simple_layer(flow_weight=1.0)

    def loss(model: Any, x: Any, factor: float, shift: float) -> Any:
        y = model(x)
        return factor * jnp.sum(y) + shift, {"outputs": y}

    def run(value_and_grad: Any) -> Any:
        return nnx.jit(value_and_grad(loss, has_aux=True))(layer, X, 2.0, shift=1.0)

    ((value, aux), flow), grads = run(ltd.value_and_grad)
    expected, expected_grads = run(nnx.value_and_grad)
    assert_close(((value, aux), grads), (expected, expected_grads), RTOL, ATOL)
    assert flow[""].gains.shape == (T, B)


@pytest.mark.parametrize(
    "explicit",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["own rngs", "given rngs"],
)
def test_random_draws_are_made_once(explicit: bool):
    def loss(model: Any, x: Any, rngs: Any) -> Any:
        return jnp.sum(model(x, rngs=rngs) ** 2)

    ends = []
    for differentiate in (ltd.value_and_grad, nnx.value_and_grad):
        model, rngs = Stacked(dropout=0.5), nnx.Rngs(5) if explicit else None
        step, values = nnx.jit(differentiate(loss)), []
        for _ in range(2):
            value, grads = step(model, X, rngs)
            value = value[0] if isinstance(value, tuple) else value
            values.append((value, grads))
        assert float(values[0][0]) != float(values[1][0])
        ends.append((jax.tree.leaves(values), leaves_of((model, rngs))[1:]))
    assert_close(ends[0], ends[1], RTOL, ATOL)


def test_in_a_jitted_train_step_it_traces_once():
    model = Stacked()
    tx = optax.chain(ltd.clip_or_random_step(1.0, key=0), optax.adam(1e-2))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    structure = leaves_of(model)[0]

    @chex.assert_max_traces(n=1)
    def step(model: Any, optimizer: Any, x: Any) -> Any:
        (loss, flow), grads = ltd.value_and_grad(squares)(model, x)
        optimizer.update(model, grads)
        return loss, {k: v.omega for k, v in flow.items()}

    jitted: Any = nnx.jit(step)
    losses = [float(jitted(model, optimizer, X)[0]) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert leaves_of(model)[0] == structure


def test_a_layer_called_twice():
    """Its gradient is that of both calls, its Ω their sum, its gains their mean."""
    model = Twice()
    (loss, flow), grads = nnx.jit(ltd.value_and_grad(squares))(model, X)
    expected = nnx.jit(nnx.value_and_grad(squares))(model, X)
    assert_close((loss, grads), expected, RTOL, ATOL)
    assert len(flow) == 1
    (seen,) = flow.values()
    params, cell = pure(model.first.cell)

    def pair(records: Any) -> Any:
        y = jnp.swapaxes(X, 0, 1)
        for record in records:
            _, y = ltd.unroll(cell, params, jnp.zeros((B, F)), y, flow_record=record)
        return jnp.sum(y**2) / B

    zeros = ltd.FlowRecord.zeros((T, B))
    one, two = jax.device_get(jax.jit(jax.grad(pair))((zeros, zeros)))
    assert_close(seen.omega, one.omega + two.omega, RTOL)
    assert_close(seen.gains, (one.gains + two.gains) / 2, RTOL)
    assert_close(seen.error_norms, (one.error_norms + two.error_norms) / 2, RTOL)
    np.testing.assert_array_equal(seen.active, True)


def test_an_error_in_the_loss_leaves_the_model_clean():
    model = Stacked()
    before = leaves_of(model)

    def fails(model: Any, x: Any) -> Any:
        model(x)
        raise RuntimeError("on purpose")

    for run in (ltd.value_and_grad(fails), lambda *a: ltd.gradient_flow(fails, *a)):
        with pytest.raises(RuntimeError, match="on purpose"):
            run(model, X)
    assert_unchanged(before, model)
    assert all(rnn.flow_record is None for rnn in model.rnns)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_gradient_flow(weight: float):
    layer = simple_layer(flow_weight=weight)
    before = leaves_of(layer)
    report = ltd.gradient_flow(_last, layer, X)
    assert_unchanged(before, layer)
    record, expected = _record(masked=False)
    loss = nnx.jit(_last)(layer, X)
    assert float(report.loss) == pytest.approx(float(loss), rel=1e-6)
    seen = report.layers[""]
    assert_close(seen.error_norms, record.error_norms, RTOL)
    assert_close(seen.gains, record.gains, RTOL)
    assert_close(seen.omega, record.omega, RTOL)
    assert_close(seen.omega, expected, RTOL)
    assert seen.active.dtype == bool
    np.testing.assert_array_equal(seen.active, np.ones((T, B)))
    assert float(seen.active_fraction) == 1


def test_gradient_flow_draws_no_random_numbers():
    model = Stacked(dropout=0.5)
    before = leaves_of(model)
    first, second = (ltd.gradient_flow(squares, model, X) for _ in range(2))
    assert float(first.loss) == float(second.loss)
    assert_unchanged(before, model)
    assert set(first.layers) == {"rnns/0", "rnns/1"}


class Deep(nnx.Module):
    """Two layers of different cells that compute in one dtype."""

    def __init__(self, dtype: Any, param_dtype: Any):
        rngs, cells = nnx.Rngs(0), (nnx.SimpleCell, nnx.LSTMCell)
        self.rnns = nnx.List(
            [
                ltd.FlowRNN(cell(H if i else F, H, dtype=dtype, rngs=rngs))
                for i, cell in enumerate(cells)
            ]
        )
        params = nnx.state(self, nnx.Param)
        nnx.update(self, jax.tree.map(lambda p: p.astype(param_dtype), params))

    def __call__(self, x: jax.Array) -> jax.Array:
        for rnn in self.rnns:
            x = rnn(x)
        return x[:, -1].astype(jnp.float32)


@pytest.mark.slow
def test_gradient_flow_of_a_deep_net_in_half_precision():
    expected = ltd.gradient_flow(squares, Deep(jnp.float32, jnp.float32), X)
    report = expected
    for param_dtype in (jnp.float32, jnp.bfloat16):
        report = ltd.gradient_flow(squares, Deep(jnp.bfloat16, param_dtype), X)
        assert list(report.layers) == ["rnns/0", "rnns/1"]
        for path, seen in report.layers.items():
            for name in ("error_norms", "gains", "omega"):
                assert getattr(seen, name).dtype == jnp.float32
            np.testing.assert_array_equal(seen.active, True)
            np.testing.assert_array_equal(seen.first_nonfinite, -1)
            assert_close(seen.gains, expected.layers[path].gains, 0.05)
            assert_close(seen.error_norms, expected.layers[path].error_norms, 0.1)
    for draw in (ltd.plots.gradient_flow, ltd.plots.gradient_heatmap):
        titles = [axes.get_title(loc="left") for axes in draw(report).axes]
        assert titles[:2] == list(report.layers)


def _layer_flow(norms: Any) -> ltd.LayerFlow:
    fields: dict[str, Any] = {
        "error_norms": norms,
        "gains": np.ones_like(norms),
        "active": norms > 0,
        "clipped": norms < 0,
        "cut": norms < 0,
        "dropped_norms": norms,
        "state_finite": norms > 0,
        "omega": np.zeros(()),
    }
    return ltd.LayerFlow(**fields)


def test_horizon_of_a_signal_that_halves():
    """‖δ‖ at lag k is 2^-k: below .1 first at lag 4, below .01 at lag 7."""
    norms = (0.5 ** np.arange(20.0)[::-1, None] * [1.0, 3.0, 0.0]).astype(np.float32)
    horizon = jax.jit(ltd.LayerFlow.horizon, static_argnames="share")
    flow = _layer_flow(norms)
    np.testing.assert_array_equal(horizon(flow, share=0.1), [4, 4, 0])
    np.testing.assert_array_equal(horizon(flow), [7, 7, 0])
    # It counts from the last step that is read, and ends at the start.
    early = norms.copy()
    early[10:] = 0
    np.testing.assert_array_equal(horizon(_layer_flow(early), share=0.1), [4, 4, 0])
    level = _layer_flow(np.ones_like(norms))
    np.testing.assert_array_equal(horizon(level, share=0.1), 20)
