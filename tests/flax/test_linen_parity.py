"""`ltd.linen.FlowRNN` gives what `nn.RNN` gives: variables, outputs, gradients."""

from functools import partial
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
    drawn,
    squares,
)
from tests.recurrent.oracles import assert_close, assert_equal
from tests.recurrent.platforms import take_steps_as_on_gpu
from tests.slow import slow_but

BOTH: Any = (ltd.linen.FlowRNN, nn.RNN)
ON: dict[str, Any] = {"flow_weight": 1.0}


def read(layer: nn.Module, variables: Any, x: jax.Array, **call: Any) -> Any:
    """All gradients of a loss that reads all outputs, and these."""

    def loss(variables: Any, x: Any) -> Any:
        out = layer.apply(variables, x, **call)
        leaves = jax.tree.leaves(out)
        return sum(jnp.sum(jnp.sin(y + i) ** 2) for i, y in enumerate(leaves)), out

    return jax.grad(loss, (0, 1), has_aux=True)(variables, x)


def compare(cell: Any, x: Any, call: dict[str, Any], **options: Any) -> None:
    """With the same variables the same outputs and gradients; Ω changes no output."""
    found, expected = (rnn(cell, **options) for rnn in BOTH)
    on = ltd.linen.FlowRNN(cell, **options, **ON)
    variables = drawn(expected, x, **call)

    @jax.jit
    def run(variables: Any, x: Any) -> Any:
        both = [read(layer, variables, x, **call) for layer in (found, expected)]
        return both, on.apply(variables, x, **call)

    both, out = run(variables, x)
    assert_close(both[0], both[1], RTOL, ATOL)
    assert_close(out, both[1][1], RTOL, ATOL)


EVERYTHING: dict[str, Any] = {
    "time_major": True,
    "reverse": True,
    "keep_order": True,
    "return_carry": True,
}


# Half of the cells alone, and half with every option.
WITH_OPTIONS = ["LSTMCell", "ConvLSTMCell 1", "OwnCell"]


@pytest.mark.parametrize(
    "cell",
    slow_but(
        ["OptimizedLSTMCell", "ConvLSTMCell 2"],
        [cell for cell in CELLS if cell not in WITH_OPTIONS],
    ),
)
def test_every_cell(cell: str):
    compare(CELLS[cell](), data(cell), {})


@pytest.mark.parametrize("cell", slow_but(["ConvLSTMCell 1", "OwnCell"], WITH_OPTIONS))
def test_every_option(cell: str):
    x = np.swapaxes(data(cell), 0, 1)
    compare(CELLS[cell](), x, {"seq_lengths": LENGTHS}, unroll=2, **EVERYTHING)


def test_unrolled_loops_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    take_steps_as_on_gpu(monkeypatch, steps=3)
    assert T % 3
    compare(CELLS["SimpleCell"](), X, {"return_carry": True})


@pytest.mark.parametrize("cell", ["LSTMCell", "ConvLSTMCell 1"])
def test_a_seed_gives_the_same_variables(cell: str):
    found, expected = (rnn(CELLS[cell]()) for rnn in BOTH)
    init = jax.jit(lambda x: (found.init(KEYS, x), expected.init(KEYS, x)))
    assert_equal(*init(data(cell)))


def test_options_of_the_call_override():
    opposite = {name: False for name in EVERYTHING if name != "keep_order"}
    call = {**opposite, "seq_lengths": LENGTHS, "reverse": True}
    compare(OwnCell(), X, call, **EVERYTHING | {"keep_order": False})


@pytest.mark.slow
def test_where_it_starts():
    start = np.cos(np.arange(B * H, dtype=np.float32)).reshape(B, H)
    compare(OwnCell(), X, {"initial_carry": start})
    random = nn.SimpleCell(H, carry_init=nn.initializers.normal(1.0))
    compare(random, X, {"init_key": jax.random.key(4)})


@pytest.mark.parametrize("lead", [(), (2, 3)], ids=["none", "two"])
def test_any_number_of_batch_axes(lead: tuple[int, ...]):
    x = np.sin(np.arange(np.prod([*lead, T, F]), dtype=np.float32))
    compare(OwnCell(), jnp.asarray(x.reshape(*lead, T, F)), {"return_carry": True})


class Twice(nn.Module):
    rnn: Any
    split: bool
    options: Any = ()

    @nn.compact
    def __call__(self, x: jax.Array) -> Any:
        streams = {"params": False, "dropout": self.split}
        layer = self.rnn(DropoutCell(), split_rngs=streams, **dict(self.options))
        return layer(x), layer(x)


@pytest.mark.parametrize("split", slow_but([True], [True, False]))
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


def test_inside_a_model():
    """Stacked, in both directions, one layer under remat, and all under jit."""
    _same(partial(nn.jit(Net), around=nn.remat))


@pytest.mark.slow
def test_an_ensemble():
    vmap: Any = nn.vmap
    split: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    _same(vmap(Shared, in_axes=None, axis_size=2, **split))


@pytest.mark.slow
def test_two_layers_of_one_cell():
    _same(Shared)


def _same(make: Any) -> None:
    """Variables and gradients of both layers; Ω changes the gradient alone."""
    layers = make(nn.RNN), make(BOTH[0]), make(BOTH[0], ON)
    variables, same = (drawn(m, X) for m in (layers[0], layers[2]))
    assert_equal(same, variables)

    @jax.jit
    def run(variables: Any) -> Any:
        return [jax.value_and_grad(squares(m))(variables, X) for m in layers]

    expected, off, on = run(variables)
    assert_close(off, expected, RTOL, ATOL)
    assert_close(on[0], expected[0], RTOL, ATOL)
    pairs = zip(*map(jax.tree.leaves, (on[1], off[1])), strict=True)
    assert max(np.max(np.abs(np.subtract(a, b))) for a, b in pairs) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell", slow_but([nn.OptimizedLSTMCell], [nn.SimpleCell, nn.OptimizedLSTMCell])
)
def test_mixed_precision(cell: Any):
    """A bfloat16 cell with float32 parameters: gains are float32."""
    half = cell(H, dtype=jnp.bfloat16)
    start = half.initialize_carry(jax.random.key(0), (B, F))
    if cell is nn.SimpleCell:
        start = start.astype(jnp.bfloat16)  # as nn.RNN needs it
    found, expected = (rnn(half) for rnn in BOTH)

    def loss(variables: Any) -> jax.Array:
        return jnp.sum(found.apply(variables, X, initial_carry=start, **ON) ** 2)

    @jax.jit
    def run(x: jax.Array) -> Any:
        variables = expected.init(KEYS, x, initial_carry=start)
        outs = [m.apply(variables, x, initial_carry=start) for m in (found, expected)]
        return outs, ltd.linen.value_and_grad(loss)(variables)

    outs, ((_, flow), grads) = run(X)
    assert outs[0].dtype == outs[1].dtype
    assert_equal(outs[0], outs[1])
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
