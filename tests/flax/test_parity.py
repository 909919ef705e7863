"""`FlowRNN` gives what `nnx.RNN` gives: outputs, gradients, state after the call."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.cells import CELLS, FLAX_CELLS
from tests.recurrent.oracles import assert_close

B, T, F, H = 3, 5, 2, 4
X = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, F)), jnp.float32)
LENGTHS = jnp.asarray([5, 2, 1])
RTOL, ATOL = 1e-5, 1e-6  # float32, sums in another order


def layer(rnn: Any, cell: str, **options: Any) -> Any:
    return rnn(CELLS[cell](F, H, rngs=nnx.Rngs(0)), **options)


def read(out: Any) -> jax.Array:
    """A loss that reads everything a layer returns."""
    leaves = jax.tree.leaves(out)
    parts = [jnp.sum(jnp.sin(y + i) ** 2) for i, y in enumerate(leaves)]
    return jnp.sum(jnp.stack(parts))


def run(
    module: Any, x: jax.Array, start: Any = None, calls: int = 1, **call: Any
) -> Any:
    """All gradients, outputs, and the state that one call after another leaves."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    def loss(params: Any, x: Any, start: Any) -> Any:
        model: Any = nnx.merge(graphdef, params, rest, copy=True)
        carry = {} if start is None else {"initial_carry": start}
        outs = [model(x, **carry, **call) for _ in range(calls)]
        state = jax.tree.leaves(nnx.state(model, nnx.Not(nnx.Param)))
        state = [jax.random.key_data(s) if _is_key(s) else s for s in state]
        return read(outs), (outs, state)

    grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    grads, aux = jax.jit(grad)(params, x, start)
    return jax.tree.leaves(grads), aux


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def compare(cell: str, call: dict[str, Any], flow: Any = None, **options: Any) -> None:
    x = jnp.swapaxes(X, 0, 1) if "time_major" in {*call, *options} else X
    found = run(layer(ltd.FlowRNN, cell, **options, **(flow or {})), x, **call)
    expected = run(layer(nnx.RNN, cell, **options), x, **call)
    if flow:
        found, expected = found[1], expected[1]
    assert_close(found, expected, RTOL, ATOL)


# Every option meets every other in at least one row.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "carry, lengths": {"return_carry": True, "seq_lengths": LENGTHS},
    "time major, reverse": {"time_major": True, "reverse": True, "return_carry": True},
    "reverse, keep order, lengths": {
        "reverse": True,
        "keep_order": True,
        "seq_lengths": LENGTHS,
    },
    "all": {
        "time_major": True,
        "reverse": True,
        "keep_order": True,
        "return_carry": True,
        "seq_lengths": LENGTHS,
    },
}


def _split(row: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lengths belong to the call, all else to the constructor."""
    options = dict(OPTIONS[row])
    lengths = options.pop("seq_lengths", None)
    return options, {} if lengths is None else {"seq_lengths": lengths}


@pytest.mark.parametrize("row", OPTIONS)
@pytest.mark.parametrize("cell", FLAX_CELLS)
def test_flax_cells(cell: str, row: str):
    options, call = _split(row)
    compare(cell, call, **options)


@pytest.mark.parametrize("row", ["all", "carry, lengths"])
def test_options_of_the_call_override(row: str):
    cell = "SimpleCell"
    compare(cell, OPTIONS[row])
    opposite = {k: False for k, v in OPTIONS[row].items() if v is True}
    options, call = _split(row)
    options.pop("time_major", None)
    opposite.pop("time_major", None)
    compare(cell, {**call, **opposite}, **options)


@pytest.mark.parametrize("cell", ["OwnCell", "AsideCell", "ConstantCell"])
@pytest.mark.parametrize("row", ["plain", "all"])
def test_cells_of_a_users_own(cell: str, row: str):
    options, call = _split(row)
    compare(cell, call, **options)


@pytest.mark.parametrize("flow", [None, {"flow_weight": 1.0}], ids=["off", "on"])
@pytest.mark.parametrize("cell", ["DropoutCell", "CountingCell"])
def test_cells_that_change_at_every_step(cell: str, flow: Any):
    compare(cell, {"return_carry": True, "calls": 2}, flow)


@pytest.mark.parametrize("flow", [None, {"flow_weight": 1.0}], ids=["off", "on"])
@pytest.mark.parametrize("streams", ["default", ...])
def test_random_streams_that_steps_share(streams: Any, flow: Any):
    compare("DropoutCell", {"calls": 2}, flow, broadcast_rngs=streams)


@pytest.mark.parametrize("cell", ["GRUCell", "LSTMCell"])
def test_initial_carry(cell: str):
    h = jnp.cos(jnp.arange(B * H, dtype=jnp.float32)).reshape(B, H)
    start = h if cell == "GRUCell" else (h, h / 2)
    compare(cell, {"start": start, "return_carry": True})


@pytest.mark.parametrize("unroll", [2, 5])
def test_unrolled_loops(unroll: int):
    compare("GRUCell", {"return_carry": True}, unroll=unroll)


@pytest.mark.parametrize("given", [False, True], ids=["own", "given"])
def test_a_random_initial_carry(given: bool):
    """Each call takes the next key of the same stream."""

    def make(rnn: Any) -> Any:
        init = nnx.initializers.normal(1.0)
        cell = nnx.GRUCell(F, H, rngs=nnx.Rngs(0))
        cell.carry_init = init
        return rnn(cell, rngs=nnx.Rngs(carry=3) if given else True)

    found, expected = (run(make(rnn), X, calls=2) for rnn in (ltd.FlowRNN, nnx.RNN))
    assert_close(found, expected, RTOL, ATOL)


def test_state_axes():
    axes = nnx.StateAxes({nnx.Param: None, ...: nnx.Carry})
    compare("SimpleCell", {}, state_axes=axes)


def test_parameters_of_each_step():
    @nnx.vmap(in_axes=0, out_axes=0)
    def cells(key: jax.Array) -> nnx.SimpleCell:
        return nnx.SimpleCell(F, 4, rngs=nnx.Rngs(key))

    keys = jax.random.split(jax.random.key(0), T)
    axes = nnx.StateAxes({nnx.Param: 0, ...: nnx.Carry})
    start = jnp.zeros((len(X), 4))
    found, expected = (
        make(cells(keys), state_axes=axes)(X, initial_carry=start)
        for make in (ltd.FlowRNN, nnx.RNN)
    )
    assert_close(found, expected, RTOL, ATOL)


@pytest.mark.parametrize("shape", [(), (2, 3)], ids=["none", "two"])
@pytest.mark.parametrize("time_major", [False, True])
def test_any_number_of_batch_axes(shape: tuple[int, ...], time_major: bool):
    lead = (T, *shape) if time_major else (*shape, T)
    x = jnp.sin(jnp.arange(np.prod([*lead, F]), dtype=jnp.float32)).reshape(*lead, F)
    options: Any = {"time_major": time_major, "return_carry": True}
    found = run(layer(ltd.FlowRNN, "GRUCell", **options), x)
    expected = run(layer(nnx.RNN, "GRUCell", **options), x)
    assert_close(found, expected, RTOL, ATOL)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["", "lengths"])
def test_inside_bidirectional(lengths: Any):
    def make(rnn: Any) -> Any:
        there, back = (rnn(nnx.GRUCell(F, H, rngs=nnx.Rngs(seed))) for seed in (0, 1))
        return nnx.Bidirectional(there, back)

    call = {} if lengths is None else {"seq_lengths": lengths}
    found, expected = run(make(ltd.FlowRNN), X, **call), run(make(nnx.RNN), X, **call)
    assert_close(found, expected, RTOL, ATOL)


def test_stacked():
    def make(rnn: Any) -> Any:
        rngs = nnx.Rngs(0)
        cells = nnx.GRUCell(F, H, rngs=rngs), nnx.SimpleCell(H, H, rngs=rngs)
        return nnx.Sequential(*(rnn(cell) for cell in cells))

    found, expected = run(make(ltd.FlowRNN), X), run(make(nnx.RNN), X)
    assert_close(found, expected, RTOL, ATOL)


@pytest.mark.parametrize("row", ["plain", "all"])
@pytest.mark.parametrize("cell", ["LSTMCell", "AsideCell"])
def test_the_penalty_changes_no_output(cell: str, row: str):
    options, call = _split(row)
    compare(cell, call, {"flow_weight": 2.0}, **options)
