"""`ltd.linen.FlowRNN` gives what `nn.RNN` gives: variables, outputs, gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import optax_ltd as ltd
from tests.flax.linen_models import (
    ATOL,
    CELLS,
    KEYS,
    LENGTHS,
    RTOL,
    B,
    CountingCell,
    DropoutCell,
    F,
    H,
    Net,
    OwnCell,
    Shared,
    SowingCell,
    T,
    X,
    data,
    squares,
)
from tests.recurrent.oracles import assert_close, assert_equal

BOTH: Any = (ltd.linen.FlowRNN, nn.RNN)
ON: dict[str, Any] = {"flow_weight": 1.0}


def read(layer: nn.Module, variables: Any, x: jax.Array, **call: Any) -> Any:
    """All gradients of a loss that reads all outputs, and these."""

    def loss(variables: Any, x: Any) -> Any:
        out = layer.apply(variables, x, **call)
        leaves = jax.tree.leaves(out)
        return sum(jnp.sum(jnp.sin(y + i) ** 2) for i, y in enumerate(leaves)), out

    return jax.grad(loss, (0, 1), has_aux=True)(variables, x)


def compare(cell: Any, x: jax.Array, call: dict[str, Any], **options: Any) -> None:
    """With the same seed the same parameters, and then the same of all else."""
    found, expected = (rnn(cell, **options) for rnn in BOTH)
    on = ltd.linen.FlowRNN(cell, **options, **ON)

    @jax.jit
    def pairs(x: jax.Array) -> Any:
        variables = expected.init(KEYS, x, **call)
        grads, out = read(expected, variables, x, **call)
        return (found.init(KEYS, x, **call), variables), (
            (read(found, variables, x, **call), on.apply(variables, x, **call)),
            ((grads, out), out),
        )

    same, close = pairs(x)
    assert_equal(same[0], same[1])
    assert_close(close[0], close[1], RTOL, ATOL)


EVERYTHING: dict[str, Any] = {
    "time_major": True,
    "reverse": True,
    "keep_order": True,
    "return_carry": True,
}


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(cell: str):
    compare(CELLS[cell](), data(cell), {})


@pytest.mark.parametrize("cell", ["LSTMCell", "ConvLSTMCell 1", "OwnCell"])
def test_every_option(cell: str):
    x = jnp.swapaxes(data(cell), 0, 1)
    compare(CELLS[cell](), x, {"seq_lengths": LENGTHS}, unroll=2, **EVERYTHING)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_options_of_the_call_override(lengths: Any):
    opposite = {name: False for name in EVERYTHING if name != "keep_order"}
    call = {**opposite, "seq_lengths": lengths, "reverse": True}
    compare(OwnCell(), X, call, **EVERYTHING | {"keep_order": False})


def test_where_it_starts():
    start = jnp.cos(jnp.arange(B * H, dtype=jnp.float32)).reshape(B, H)
    compare(OwnCell(), X, {"initial_carry": start})
    drawn = nn.SimpleCell(H, carry_init=nn.initializers.normal(1.0))
    compare(drawn, X, {"init_key": jax.random.key(4)})


@pytest.mark.parametrize("lead", [(), (2, 3)], ids=["none", "two"])
def test_any_number_of_batch_axes(lead: tuple[int, ...]):
    x = jnp.sin(jnp.arange(np.prod([*lead, T, F]), dtype=jnp.float32))
    compare(OwnCell(), x.reshape(*lead, T, F), {"return_carry": True})


class Twice(nn.Module):
    rnn: Any
    split: bool
    options: Any = ()

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        streams = {"params": False, "dropout": self.split}
        layer = self.rnn(DropoutCell(), split_rngs=streams, **dict(self.options))
        return layer(x), layer(x)


@pytest.mark.parametrize("split", [True, False])
def test_random_numbers(split: bool):
    """The same draws, of one call after another; steps share them or do not."""
    layers = [Twice(nn.RNN, split), *(Twice(BOTH[0], split, o) for o in ({}, ON))]
    rngs = {"dropout": jax.random.key(2)}

    @jax.jit
    def run(x: jax.Array) -> Any:
        variables = [m.init(KEYS, x) for m in layers]
        return variables, [m.apply(variables[0], x, rngs=rngs) for m in layers]

    variables, outs = run(X)
    for i in (1, 2):
        assert_equal(variables[i], variables[0])
        assert_close(outs[i], outs[0], RTOL, ATOL)
    zero, again = (np.asarray(y == 0) for y in outs[1])
    assert zero.any()
    assert (zero == zero[:, :1]).all() == (not split)
    assert (zero != again).any()


def _counting(rnn: Any, **options: Any) -> tuple[Any, Any]:
    """A layer, and its variables, which neither layer can create in its loop."""
    variables = CountingCell().init(KEYS, jnp.zeros((B, H)), X[:, 0])
    layer = rnn(CountingCell(), variable_carry="batch_stats", **options)
    return layer, {name: {"cell": tree} for name, tree in variables.items()}


@pytest.mark.parametrize("options", [{}, ON], ids=["off", "on"])
@pytest.mark.parametrize("mutable", [["batch_stats"], True])
def test_a_state_that_steps_hand_on(mutable: Any, options: Any):
    (found, variables), (expected, _) = (
        _counting(ltd.linen.FlowRNN, **options),
        _counting(nn.RNN),
    )
    outs = [m.apply(variables, X, mutable=mutable) for m in (found, expected)]
    assert_close(outs[0], outs[1], RTOL, ATOL)
    assert (
        outs[0][1]["batch_stats"]["cell"]["steps"]
        == variables["batch_stats"]["cell"]["steps"] + T
    )


def test_a_state_that_steps_only_read():
    layer, variables = _counting(ltd.linen.FlowRNN, **ON)
    shared = nn.RNN(CountingCell(), variable_broadcast=["params", "batch_stats"])
    found, expected = (m.apply(variables, X) for m in (layer, shared))
    assert_close(found, expected, RTOL, ATOL)


def test_collections_with_a_value_for_each_step():
    axes: Any = {"variable_axes": {"intermediates": 0}}
    found, expected = (rnn(SowingCell(), **axes) for rnn in BOTH)
    variables = expected.init(KEYS, X)
    variables = {"params": variables["params"]}
    outs = [m.apply(variables, X, mutable="intermediates") for m in (found, expected)]
    assert_equal(outs[0], outs[1])
    with pytest.raises(
        ValueError, match=r"`variable_axes` must be \{\} .*; got Frozen"
    ):
        found.apply(variables, X, flow_weight=1.0)


@pytest.mark.parametrize("around", ["", "remat", "jit", "vmap"])
def test_inside_a_model(around: str):
    """Stacked, in both directions, and under Flax's transformations."""

    def make(rnn: Any, options: Any = ()) -> Any:
        if around == "vmap":
            vmap: Any = nn.vmap
            ensemble = vmap(
                Net,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=None,
                axis_size=2,
            )
            return ensemble(rnn, options)
        if around:
            return Net(rnn, options, getattr(nn, around))
        return Net(rnn, options)

    _same(make)


def test_two_layers_of_one_cell():
    _same(Shared)


def _same(make: Any) -> None:
    """Variables and gradients of both layers; Ω changes the gradient alone."""
    layers = make(nn.RNN), make(BOTH[0]), make(BOTH[0], ON)

    @jax.jit
    def run(x: jax.Array) -> Any:
        variables = [m.init(KEYS, x) for m in (layers[0], layers[2])]
        grad = lambda m: jax.value_and_grad(squares(m))(variables[0], x)
        return variables, [grad(m) for m in layers]

    variables, (expected, off, on) = run(X)
    assert_equal(variables[1], variables[0])
    assert_close(off, expected, RTOL, ATOL)
    assert_close(on[0], expected[0], RTOL, ATOL)
    change = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), on[1], off[1])
    assert max(jax.tree.leaves(change["params"])) > 1e-3


@pytest.mark.parametrize("cell", [nn.SimpleCell, nn.OptimizedLSTMCell])
def test_mixed_precision(cell: Any):
    """A bfloat16 cell with float32 parameters: gains are float32."""
    half = cell(H, dtype=jnp.bfloat16)
    start = half.initialize_carry(jax.random.key(0), (B, F))
    if cell is nn.SimpleCell:
        start = start.astype(jnp.bfloat16)  # as nn.RNN needs it
    found, expected = (rnn(half) for rnn in BOTH)
    variables = jax.jit(expected.init)(KEYS, X, initial_carry=start)
    outs = [m.apply(variables, X, initial_carry=start) for m in (found, expected)]
    assert outs[0].dtype == outs[1].dtype
    assert_equal(outs[0], outs[1])
    loss: Any = lambda v: jnp.sum(found.apply(v, X, initial_carry=start, **ON) ** 2)
    loss = jax.jit(ltd.linen.value_and_grad(loss))
    (_, flow), grads = loss(variables)
    assert {g.dtype for g in jax.tree.leaves(grads)} == {jnp.dtype(jnp.float32)}
    assert flow[""].gains.dtype == jnp.float32
    assert 0 < float(flow[""].omega) < 100


def test_forward_mode_without_the_penalty():
    found, expected = (rnn(OwnCell()) for rnn in BOTH)
    variables = expected.init(KEYS, X)
    tangents = jax.tree.map(jnp.ones_like, variables)
    along = lambda m: jax.jvp(lambda v: squares(m)(v, X), (variables,), (tangents,))
    assert_close(along(found), along(expected), RTOL, ATOL)
    with pytest.raises(NotImplementedError, match="while Ω is on"):
        along(ltd.linen.FlowRNN(OwnCell(), flow_weight=1.0))
