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
from tests.recurrent.platforms import take_steps_as_on_gpu
from tests.slow import slow_but

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
    loss, params = _loss(module, calls, start is not None, call)
    grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    grads, aux = jax.jit(grad)(params, x, start)
    return jax.tree.leaves(grads), aux


def forward(
    module: Any, x: jax.Array, start: Any = None, calls: int = 1, **call: Any
) -> Any:
    """Outputs and state of :func:`run`, from the forward pass of a gradient alone."""
    loss, params = _loss(module, calls, start is not None, call)
    return jax.jit(lambda *args: jax.vjp(loss, *args, has_aux=True)[2])(
        params, x, start
    )


def _loss(module: Any, calls: int, started: bool, call: Any) -> tuple[Any, Any]:
    """A function of ``(params, inputs, start)``, and the parameters."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    def loss(params: Any, x: Any, start: Any) -> Any:
        model: Any = nnx.merge(graphdef, params, rest, copy=True)
        carry = {"initial_carry": start} if started else {}
        outs = [model(x, **carry, **call) for _ in range(calls)]
        state = jax.tree.leaves(nnx.state(model, nnx.Not(nnx.Param)))
        state = [jax.random.key_data(s) if _is_key(s) else s for s in state]
        return read(outs), (outs, state)

    return loss, params


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def compare(
    cell: str, call: dict[str, Any], flow_weight: float = 0.0, **options: Any
) -> None:
    """With Ω off everything is as in ``nnx.RNN``; Ω changes no output and no state."""
    x = jnp.swapaxes(X, 0, 1) if "time_major" in {*call, *options} else X
    expected = run(layer(nnx.RNN, cell, **options), x, **call)
    found = run(layer(ltd.FlowRNN, cell, **options), x, **call)
    assert_close(found, expected, RTOL, ATOL)
    if flow_weight:
        on = layer(ltd.FlowRNN, cell, flow_weight=flow_weight, **options)
        assert_close(forward(on, x, **call), expected[1], RTOL, ATOL)


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


@pytest.mark.parametrize(
    "row",
    slow_but(["time major, reverse", "reverse, keep order, lengths"], OPTIONS),
)
def test_options(row: str):
    options, call = _split(row)
    compare("LSTMCell", call, 2.0, **options)


@pytest.mark.parametrize(
    "cell",
    slow_but(["OptimizedLSTMCell"], [c for c in FLAX_CELLS if c != "LSTMCell"]),
)
def test_flax_cells(cell: str):
    options, call = _split("all")
    compare(cell, call, **options)


def test_options_of_the_call_override():
    cell, options = "SimpleCell", dict(OPTIONS["all"])
    compare(cell, options)
    opposite = {k: False for k, v in options.items() if v is True}
    options, call = _split("all")
    del options["time_major"], opposite["time_major"]
    compare(cell, {**call, **opposite}, **options)


@pytest.mark.parametrize("cell", slow_but(["AsideCell"], ["AsideCell", "ConstantCell"]))
def test_cells_of_a_users_own(cell: str):
    options, call = _split("all")
    compare(cell, call, 2.0, **options)


@pytest.mark.parametrize("cell", ["DropoutCell", "CountingCell"])
def test_cells_that_change_at_every_step(cell: str):
    compare(cell, {"return_carry": True, "calls": 2}, 1.0)


def test_random_streams_that_steps_share():
    compare("DropoutCell", {"calls": 2}, 1.0, broadcast_rngs="default")


def test_initial_carry():
    h = jnp.cos(jnp.arange(B * H, dtype=jnp.float32)).reshape(B, H)
    compare("LSTMCell", {"start": (h, h / 2), "return_carry": True})


def test_unrolled_loops():
    compare("SimpleCell", {"return_carry": True}, unroll=2)


def test_unrolled_loops_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    take_steps_as_on_gpu(monkeypatch, steps=3)
    assert T % 3
    compare("SimpleCell", {"return_carry": True})


@pytest.mark.parametrize("given", slow_but([True], [False, True]))
def test_a_random_initial_carry(given: bool):
    """Each call takes the next key of the same stream."""

    def make(rnn: Any) -> Any:
        cell = nnx.SimpleCell(F, H, rngs=nnx.Rngs(0))
        cell.carry_init = nnx.initializers.normal(1.0)
        return rnn(cell, rngs=nnx.Rngs(carry=3) if given else True)

    found, expected = (run(make(rnn), X, calls=2) for rnn in (ltd.FlowRNN, nnx.RNN))
    assert_close(found, expected, RTOL, ATOL)


def test_state_axes():
    axes = nnx.StateAxes({nnx.Param: None, ...: nnx.Carry})
    compare("SimpleCell", {}, state_axes=axes)


def test_parameters_of_each_step():
    @nnx.jit
    @nnx.vmap(in_axes=0, out_axes=0)
    def cells(key: jax.Array) -> nnx.SimpleCell:
        return nnx.SimpleCell(F, H, rngs=nnx.Rngs(key))

    each = cells(jax.random.split(jax.random.key(0), T))
    axes = nnx.StateAxes({nnx.Param: 0, ...: nnx.Carry})
    start = jnp.zeros((B, H))
    found, expected = (
        run(rnn(each, state_axes=axes), X, start) for rnn in (ltd.FlowRNN, nnx.RNN)
    )
    assert_close(found, expected, RTOL, ATOL)


@pytest.mark.parametrize(
    ("shape", "time_major"), [((), True), ((2, 3), False)], ids=["none", "two"]
)
def test_any_number_of_batch_axes(shape: tuple[int, ...], time_major: bool):
    lead = (T, *shape) if time_major else (*shape, T)
    x = np.sin(np.arange(np.prod([*lead, F]), dtype=np.float32)).reshape(*lead, F)
    options: Any = {"time_major": time_major, "return_carry": True}
    found, expected = (
        run(layer(rnn, "SimpleCell", **options), jnp.asarray(x))
        for rnn in (ltd.FlowRNN, nnx.RNN)
    )
    assert_close(found, expected, RTOL, ATOL)


@pytest.mark.slow
def test_inside_bidirectional():
    def make(rnn: Any) -> Any:
        cells = (nnx.SimpleCell(F, H, rngs=nnx.Rngs(seed)) for seed in (0, 1))
        return nnx.Bidirectional(*map(rnn, cells))

    found, expected = (
        run(make(rnn), X, seq_lengths=LENGTHS) for rnn in (ltd.FlowRNN, nnx.RNN)
    )
    assert_close(found, expected, RTOL, ATOL)
