"""Bad arguments of the layer and of its reports."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.cells import OwnCell
from tests.flax.models import (
    F,
    H,
    X,
    assert_unchanged,
    leaves_of,
    simple_layer,
    squares,
)


def _value_and_grad(loss_fn: Any, *args: Any) -> Any:
    return ltd.value_and_grad(loss_fn)(*args)


BAD_WEIGHTS = [
    (-1.0, ValueError),
    (float("nan"), ValueError),
    (float("inf"), ValueError),
    (True, TypeError),
    ("1", TypeError),
    (np.ones(2, np.float32), TypeError),
]


@pytest.mark.parametrize(("weight", "error"), BAD_WEIGHTS)
def test_flow_weight_of_the_layer_and_of_the_call(weight: Any, error: Any):
    message = r"`flow_weight` must be a .*; got "
    with pytest.raises(error, match=message) as of_layer:
        simple_layer(flow_weight=weight)
    with pytest.raises(error, match=message) as of_call:
        simple_layer()(X, flow_weight=weight)
    assert str(of_layer.value) == str(of_call.value)


@pytest.mark.parametrize("name", ["flow_form", "flow_reduction"])
def test_form_and_reduction(name: str):
    with pytest.raises(ValueError, match=f"`{name}` must be one of .*; got 'median'"):
        simple_layer(**{name: "median"})


@pytest.mark.parametrize("chosen", [nnx.BatchStat, nnx.PathContains("dens_h")])
def test_flow_params_that_select_nothing(chosen: Any):
    message = r"`flow_params` must be a selection of .* \['dense_h/kernel', .*; got "
    with pytest.raises(ValueError, match=message) as raised:
        simple_layer(flow_weight=1.0, flow_params=chosen)
    assert repr(chosen) in str(raised.value)


def test_carry_clip_that_is_a_number():
    with pytest.raises(TypeError, match=r"`carry_clip` must be None or .*; got 1\.0"):
        simple_layer(carry_clip=1.0)


@pytest.mark.parametrize(
    ("cell", "got"),
    [
        (nn.SimpleCell(H), "a flax.linen.recurrent.SimpleCell"),
        (nnx.SimpleCell, "the class flax.nnx.nn.recurrent.SimpleCell"),
    ],
)
def test_cell_of_another_api(cell: Any, got: str):
    message = r"`cell` must be a recurrent cell of flax\.nnx .*; got " + re.escape(got)
    with pytest.raises(TypeError, match=message):
        ltd.FlowRNN(cell)


@pytest.mark.parametrize("time_major", [False, True])
def test_seq_lengths(time_major: bool):
    x = jnp.swapaxes(X, 0, 1) if time_major else X
    layer = simple_layer(time_major=time_major)
    batch = X.shape[0]
    for bad in (np.ones(batch + 1, np.int32), np.ones(batch, np.float32)):
        message = f"[*batch] = ({batch},); got {bad.dtype} {bad.shape}"
        with pytest.raises(ValueError, match="`seq_lengths` .*" + re.escape(message)):
            layer(x, seq_lengths=jnp.asarray(bad))


@pytest.mark.parametrize("cell", [nnx.Linear(F, H, rngs=nnx.Rngs(0)), nn.Dense(H)])
def test_a_module_that_is_no_cell(cell: Any):
    layer: Any = ltd.linen.FlowRNN if isinstance(cell, nn.Module) else ltd.FlowRNN
    message = r"`cell` must be a recurrent cell, .*; got a flax\S+ without num_feature"
    with pytest.raises(TypeError, match=message):
        layer(cell)


class Duck(nnx.Module):
    """What a layer needs of a cell, and no more."""

    num_feature_axes = 1

    def __call__(self, carry: Any, x: Any) -> Any:
        return jnp.tanh(carry + x), carry


def test_a_cell_of_ones_own_that_is_no_child_of_flax():
    carry = jnp.zeros((X.shape[0], F))
    cell: Any = Duck()
    assert ltd.FlowRNN(cell, flow_weight=1.0)(X, initial_carry=carry).shape == X.shape
    with pytest.raises(TypeError, match="add got incompatible shapes"):
        ltd.FlowRNN(cell)(X, initial_carry=jnp.zeros((X.shape[0], 3)))


CARRIES = {
    "a pair": (jnp.zeros((3, H)),) * 2,
    "of other features": jnp.zeros((3, 2 * H)),
    "of one example": jnp.zeros(H),
    "of other examples": jnp.zeros((2, H)),
}


@pytest.mark.parametrize("kind", CARRIES)
def test_initial_carry(kind: str):
    """Checked where it fails, so that a cell may take what it wants."""
    message = r"`initial_carry` must have the .* the cell's own, .*\[\(3, 4\)\]; got "
    layer = simple_layer()
    linen = ltd.linen.FlowRNN(nn.SimpleCell(H))
    params = linen.init(jax.random.key(0), X)
    before = leaves_of(layer)
    for weight in (0.0, 1.0):
        call: Any = {"initial_carry": CARRIES[kind], "flow_weight": weight}
        with pytest.raises(ValueError, match=message):
            layer(X, **call)
        with pytest.raises(ValueError, match=message):
            linen.apply(params, X, **call)
    if kind != "of other features":  # which a Linen cell takes from its carry
        with pytest.raises(ValueError, match=message):
            linen.init(jax.random.key(0), X, initial_carry=CARRIES[kind])
    assert_unchanged(before, layer)


def test_lists_in_the_place_of_arrays():
    steps = np.arange(5) < 3
    mask, lengths = np.tile(steps, (3, 1)), [5, 2, 1]
    given: Any = {"mask": mask.tolist(), "resets": (~mask).tolist()}
    arrays: Any = {name: jnp.asarray(value) for name, value in given.items()}
    layer = simple_layer(flow_weight=1.0)
    for call, same in (
        (given, arrays),
        ({"seq_lengths": lengths, "reverse": True},) * 2,
    ):
        same: Any = {
            k: jnp.asarray(v) if k == "seq_lengths" else v for k, v in same.items()
        }
        np.testing.assert_array_equal(layer(X, **call), layer(X, **same))
    ragged: Any = [[True], [True, False]]
    for name in ("mask", "resets", "seq_lengths"):
        with pytest.raises(ValueError, match=f"`{name}` must be an array, or nested"):
            layer(X, **{name: ragged})


def test_a_schedule_as_the_weight():
    message = r"`flow_weight` must be a number .*; got <.*call it with the step and"
    schedule: Any = optax.linear_schedule(0.0, 1.0, 10)
    for make in (simple_layer, lambda **o: ltd.linen.FlowRNN(nn.SimpleCell(H), **o)):
        with pytest.raises(TypeError, match=message):
            make(flow_weight=schedule)
    with pytest.raises(TypeError, match=message):
        simple_layer()(X, flow_weight=schedule)


def test_numbers_of_numpy():
    truncate: Any = np.int64(2)
    layer = simple_layer(flow_fraction=np.float32(0.5), truncate=truncate)
    assert (layer.flow_fraction, layer.truncate) == (0.5, 2)


def test_custom_state_axes():
    axes = nnx.StateAxes({nnx.Param: None, ...: nnx.Carry})
    layer = simple_layer(state_axes=axes, flow_weight=1.0)
    with pytest.raises(ValueError, match=r"`state_axes` must be the default .*; got "):
        layer(X)


class Single(OwnCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        return self.next(carry, inputs)


class Wider(OwnCell):
    def __call__(self, carry: Any, inputs: Any) -> Any:
        h = self.next(carry, inputs)
        return jnp.concatenate([h, h], -1), h


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_what_a_cell_returns(weight: float):
    def run(cell: Any) -> Any:
        return ltd.FlowRNN(cell(F, H, rngs=nnx.Rngs(0)), flow_weight=weight)(X)

    pair = r"the cell must return a pair \(carry, output\); got "
    with pytest.raises(ValueError, match=pair):
        run(Single)
    with pytest.raises(ValueError, match=re.escape("(3, 4); got (3, 8)")):
        run(Wider)


@pytest.mark.parametrize("report", [ltd.gradient_flow, _value_and_grad])
def test_a_model_without_a_flow_rnn(report: Any):
    model = nnx.RNN(nnx.SimpleCell(F, H, rngs=nnx.Rngs(0)))
    message = r"one optax_ltd.FlowRNN, .*optax_ltd.linen .*; got a RNN without one"
    with pytest.raises(ValueError, match=message):
        report(squares, model, X)


def test_one_report_needs_one_shape():
    layer = simple_layer(flow_weight=1.0)
    loss = lambda model, x: jnp.sum(model(x)) + jnp.sum(model(x[:, :3]))
    message = re.escape("(5, 3); got (3, 3)")
    with pytest.raises(ValueError, match=message):
        ltd.value_and_grad(loss)(layer, X)
    assert layer.flow_record is None
