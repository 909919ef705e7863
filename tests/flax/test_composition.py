"""`FlowRNN` with Ω on as a part of larger nets, by the explicit formula of Ω."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.flax.cells import ConstantCell, CountingCell, DropoutCell
from tests.flax.models import LENGTHS, B, F, T, X, pure
from tests.recurrent.cells import Case
from tests.recurrent.oracles import (
    assert_close,
    frozen,
    gains_by_vjp,
    omega,
)
from tests.slow import slow_but

H = 5
WEIGHT = 1.5
RTOL, ATOL = 2e-4, 2e-5  # float32, through both passes
X_T = np.swapaxes(X, 0, 1)


def _case(cell: Any, inputs: Any, step: Any = None, aliased: Any = None) -> Case:
    """A cell as a function of its parameters, on time-major inputs."""
    graphdef, params, rest = nnx.split(cell, nnx.Param, ...)

    def own(p: Any, h: Any, x: Any) -> Any:
        return nnx.merge(graphdef, p, rest, copy=True)(h, x)

    start = cell.initialize_carry((B, F), nnx.Rngs(0))
    same = lambda carry, y: carry
    return Case(step or own, aliased or same, params, start, inputs)


def _outputs(c: Case, inputs: Any, params: Any = None) -> Any:
    params = c.params if params is None else params
    return jax.lax.scan(partial(c.cell, params), c.carry, inputs)[1]


def _expected(c: Case, loss: Any, weight: float = WEIGHT, mask: Any = None) -> Any:
    """∇L + weight · ∇Ω in the cell's parameters, where L reads the outputs over time.

    The part of Ω is checked to be worth seeing.
    """

    @jax.jit
    def grads(params: Any) -> Any:
        held = frozen(c, lambda _, y: loss(y))
        terms = lambda p: omega(gains_by_vjp(c, p, held), "ratio", "sum", mask)
        plain = jax.grad(lambda p: loss(_outputs(c, c.inputs, p)))(params)
        return plain, jax.grad(terms)(params)

    plain, penalty = map(jax.tree.leaves, jax.device_get(grads(c.params)))
    assert max(np.max(np.abs(g)) for g in penalty) > 0.05
    return [g + weight * p for g, p in zip(plain, penalty, strict=True)]


def _grads(model: Any, loss: Any, x: Any = X) -> Any:
    """Gradients of a model, whole; the leaves of a part's are those of its cell."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def run(params: Any) -> Any:
        return loss(nnx.merge(graphdef, params, rest, copy=True)(x))

    return jax.jit(jax.grad(run))(params)


def _check(found: Any, expected: Any) -> None:
    assert_close(jax.tree.leaves(found), expected, RTOL, ATOL)


def _read(y: jax.Array) -> jax.Array:
    """A batch mean that reads all, and each step and feature in its own way."""
    weights = 1 + 0.5 * jnp.cos(jnp.arange(y.size)).reshape(y.shape)
    return jnp.sum(weights * y + 0.4 * y**2) / B


def _read_time_major(y: Any) -> jax.Array:
    return _read(jnp.swapaxes(y, 0, 1))


def _flipped(y: Any, lengths: Any) -> Any:
    """Each sequence backwards, time first; what is beyond its length comes after."""
    lengths = [T] * B if lengths is None else np.asarray(lengths).tolist()
    order = np.array([[*range(n)][::-1] + [*range(n, T)][::-1] for n in lengths])
    return y[order.T, np.arange(B)]


@pytest.mark.slow
def test_stacked_layers():
    """Each has a weight of its own; its δ comes through those above it."""
    rngs, weights = nnx.Rngs(0), (1.5, 0.7)
    cells = [nnx.LSTMCell(F, H, rngs=rngs), nnx.SimpleCell(H, H, rngs=rngs)]
    layers = [
        ltd.FlowRNN(c, flow_weight=w) for c, w in zip(cells, weights, strict=True)
    ]
    found = _grads(nnx.Sequential(*layers), _read)["layers"]
    inputs, cases = X_T, []
    for cell in cells:
        pair = isinstance(cell, nnx.LSTMCell)
        aliased = (lambda carry, y: carry[1]) if pair else None
        cases.append(_case(cell, inputs, aliased=aliased))
        inputs = _outputs(cases[-1], inputs)
    for i, weight in enumerate(weights):

        def loss(y: Any, above: Any = tuple(cases[i + 1 :])) -> Any:
            for c in above:
                y = _outputs(c, y)
            return _read_time_major(y)

        _check(found[i], _expected(cases[i], loss, weight))


@pytest.mark.parametrize(
    "lengths",
    [pytest.param(None, marks=pytest.mark.slow), LENGTHS],
    ids=["", "lengths"],
)
def test_bidirectional(lengths: Any):
    merge = (lambda a, b: a * b) if lengths is None else None
    forward = nnx.SimpleCell if lengths is None else nnx.GRUCell
    rngs = nnx.Rngs(1)
    cells = forward(F, H, rngs=rngs), nnx.SimpleCell(F, H, rngs=rngs)
    layers = [ltd.FlowRNN(c, flow_weight=WEIGHT) for c in cells]
    options: Any = {} if merge is None else {"merge_fn": merge}

    class Net(nnx.Module):
        def __init__(self):
            self.rnn = nnx.Bidirectional(*layers, **options)

        def __call__(self, x: Any) -> Any:
            return self.rnn(x, seq_lengths=lengths)

    found = _grads(Net(), _read)["rnn"]
    there = _case(cells[0], X_T)
    back = _case(cells[1], _flipped(X_T, lengths))
    y_there, y_back = (_outputs(c, c.inputs) for c in (there, back))
    mask = None if lengths is None else np.arange(T)[:, None] < np.asarray(lengths)

    def merged(there: Any, back: Any) -> Any:
        back = _flipped(back, lengths)
        both = merge(there, back) if merge else jnp.concatenate([there, back], -1)
        return _read_time_major(both)

    expected = _expected(there, lambda y: merged(y, y_back), mask=mask)
    _check(found["forward_rnn"], expected)
    expected = _expected(back, lambda y: merged(y_there, y), mask=mask)
    _check(found["backward_rnn"], expected)


@pytest.mark.parametrize("every", slow_but([True], [True, False]))
def test_dropout_in_the_cell(every: bool):
    """The masks of the forward pass are those of the backward pass."""

    def make() -> Any:
        cell = DropoutCell(F, 8, rngs=nnx.Rngs(0))
        shared = None if every else ...
        return ltd.FlowRNN(cell, flow_weight=WEIGHT, broadcast_rngs=shared)

    outputs = nnx.jit(lambda layer, x: layer(x))(make(), X)
    kept = np.swapaxes(outputs, 0, 1) != 0
    assert 0.2 < np.mean(kept) < 0.8
    assert bool(np.all(kept == kept[0])) != every
    params, step = pure(make().cell)

    def frozen_masks(p: Any, h: Any, x: Any) -> Any:
        h, _ = step(p, h, x[:, :F])
        h = 2 * h * x[:, F:]
        return h, h

    inputs = np.concatenate([X_T, kept], -1, dtype=X_T.dtype)
    c = _case(make().cell, inputs, frozen_masks)._replace(params=params)
    expected = _expected(c, _read_time_major)
    found = _grads(make(), _read)["cell"]
    dense = found["dense_h"], found["dense_i"]
    named = {
        "W": dense[0]["kernel"],
        "U": dense[1]["kernel"],
        "b": dense[1]["bias"],
    }
    _check(named, expected)


@pytest.mark.parametrize("kind", slow_but([CountingCell], [ConstantCell, CountingCell]))
def test_variables_that_are_no_parameters(kind: Any):
    """What steps hand on beside the carry is constant to Ω."""
    cell = kind(F, H, rngs=nnx.Rngs(0))
    walker, states = nnx.clone(cell), []
    h = walker.initialize_carry((B, F))
    step = nnx.jit(lambda walker, h, x: walker(h, x)[0])
    for x in X_T:
        states.append(jax.tree.map(np.array, nnx.state(walker, nnx.Not(nnx.Param))))
        h = step(walker, h, x)
    states = jax.tree.map(lambda *s: jnp.asarray(np.stack(s)), *states)
    graphdef, _, _ = nnx.split(cell, nnx.Param, ...)

    def at_its_step(p: Any, h: Any, x: Any) -> Any:
        at = x[0, F].astype(int)
        state = jax.tree.map(lambda s: s[at], states)
        return nnx.merge(graphdef, p, state, copy=True)(h, x[:, :F])

    steps = np.broadcast_to(np.arange(T, dtype=X_T.dtype)[:, None, None], (T, B, 1))
    c = _case(cell, np.concatenate([X_T, steps], -1), at_its_step)
    found = _grads(ltd.FlowRNN(cell, flow_weight=WEIGHT), _read)["cell"]
    _check(found, _expected(c, _read_time_major))


def test_backwards_with_lengths_and_the_carry():
    """Neither order nor padding moves Ω from the steps that it belongs to."""
    cell = nnx.SimpleCell(F, H, rngs=nnx.Rngs(0))
    options: Any = {"reverse": True, "return_carry": True, "time_major": True}
    layer = ltd.FlowRNN(cell, flow_weight=WEIGHT, **options)

    class Net(nnx.Module):
        def __init__(self):
            self.rnn = layer

        def __call__(self, x: Any) -> Any:
            carry, y = self.rnn(x, seq_lengths=LENGTHS)
            return y.at[0].add(carry)

    found = _grads(Net(), _read_time_major, X_T)["rnn"]

    def loss(y: Any) -> Any:
        return _read_time_major(y.at[0].add(y[LENGTHS - 1, jnp.arange(B)]))

    mask = np.arange(T)[:, None] < np.asarray(LENGTHS)
    _check(found, _expected(_case(cell, _flipped(X_T, LENGTHS)), loss, mask=mask))


@pytest.mark.slow
def test_each_layer_of_a_stack_clips_its_own_signal():
    rngs, bounds = nnx.Rngs(0), (0.9, 0.8)
    cells = nnx.SimpleCell(F, H, rngs=rngs), nnx.SimpleCell(H, H, rngs=rngs)
    clips = [ltd.clip_carry_gradient(bound) for bound in bounds]
    layers = [
        ltd.FlowRNN(cell, flow_weight=WEIGHT, carry_clip=clip)
        for cell, clip in zip(cells, clips, strict=True)
    ]
    loss = lambda model, x: _read(model(x))
    model = nnx.Sequential(*layers)
    (_, flow), found = nnx.jit(ltd.value_and_grad(loss))(model, X)
    params, steps = zip(*map(pure, cells), strict=True)

    def by_hand(params: Any, records: Any) -> jax.Array:
        y, start = X_T, jnp.zeros((B, H))
        for p, step, clip, record in zip(params, steps, clips, records, strict=True):
            options: Any = {"carry_clip": clip, "flow_record": record}
            _, y = ltd.unroll(step, p, start, y, flow_weight=WEIGHT, **options)
        return _read_time_major(y)

    zeros = ltd.FlowRecord.zeros((T, B))
    expected, records = jax.jit(jax.grad(by_hand, (0, 1)))(params, [zeros, zeros])
    for i, (seen, record) in enumerate(zip(flow.values(), records, strict=True)):
        assert 0 < np.sum(record.clipped) < T * B
        np.testing.assert_array_equal(seen.clipped, record.clipped == 1)
        assert np.max(seen.error_norms) <= bounds[i] * (1 + 1e-5)
        cell = found["layers"][i]["cell"]
        named = [cell["dense_h"]["kernel"], cell["dense_i"]["bias"]]
        assert_close(
            [n[...] for n in named], [expected[i][k] for k in "Wb"], RTOL, ATOL
        )
