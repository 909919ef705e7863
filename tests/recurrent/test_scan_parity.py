"""`unroll` where users have `jax.lax.scan`: any batch, any inputs, any closure."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd

T, B, H = 9, 3, 8
_rng = np.random.default_rng(0)
W: Any = np.float32(0.4 * _rng.standard_normal((H, H)))
X: Any = np.float32(_rng.standard_normal((T, B, H)))
START: Any = np.float32(_rng.standard_normal((B, H)))
ON: Any = {"flow_weight": 2.0}
close = partial(chex.assert_trees_all_close, rtol=2e-5, atol=1e-5)


def cell(w, h, x):
    h = jnp.tanh(h @ w + x)
    return h, h


def alone(w, h, x):
    """The same of one example, as programs for `jax.vmap` write it."""
    h = jnp.tanh(w.T @ h + x)
    return h, h


def last(run, *args, **options):
    return jnp.sum(run(*args, **options)[0])


def gradient(loss):
    return jax.jit(jax.grad(loss))(W)


def of_batch(examples=slice(None), **options):
    start, x = START[examples], X[:, examples]
    return gradient(lambda w: last(ltd.unroll, cell, w, start, x, **options))


@pytest.mark.parametrize(
    "options", [ON, {"carry_clip": ltd.clip_carry_gradient(1e-3)}], ids=str
)
def test_one_example_is_a_batch_of_one(options):
    found = gradient(
        lambda w: last(
            ltd.unroll, alone, w, START[0], X[:, 0], num_batch_dims=0, **options
        )
    )
    close(found, of_batch(slice(1), **options))


def test_examples_under_vmap_are_a_batch():
    """Of a mean of losses: each Ω adds up, so the weight is that of the mean."""

    def loss(w):
        def one(h, x):
            run = partial(ltd.unroll, num_batch_dims=0, flow_weight=2.0 / B)
            return last(run, alone, w, h, x)

        return jnp.mean(jax.vmap(one, in_axes=(0, 1))(START, X))

    batch = lambda w: last(ltd.unroll, cell, w, START, X, **ON) / B
    close(gradient(loss), gradient(batch))


def test_gradients_of_examples_have_the_whole_weight():
    """`ltd.clip_per_example` averages them, and with them their Ω."""

    def one(w, h, x):
        return last(ltd.unroll, alone, w, h, x, num_batch_dims=0, **ON)

    each = jax.jit(jax.vmap(jax.grad(one), in_axes=(None, 0, 1)))(W, START, X)
    batch = lambda w: last(ltd.unroll, cell, w, START, X, **ON) / B
    close(jnp.mean(each, 0), gradient(batch))


def test_records_of_one_example():
    def loss(record):
        return last(
            ltd.unroll,
            alone,
            W,
            START[0],
            X[:, 0],
            num_batch_dims=0,
            flow_record=record,
        )

    seen = jax.jit(jax.grad(loss))(ltd.FlowRecord.zeros((T,)))
    flow = ltd.LayerFlow.from_record(seen)
    chex.assert_shape([flow.gains, flow.retained], (T,))
    chex.assert_shape([flow.horizon(), flow.first_nonfinite], ())


@pytest.mark.parametrize(
    ("carry", "inputs"),
    [
        (np.ones(H), np.ones((20, H))),
        (np.ones(3), np.ones(20)),
        (np.ones(()), np.ones(20)),
        (np.ones((H, H)), np.ones((20, 3))),
        (np.ones((H, H)), np.ones((20, H))),
        (np.ones((H, H)), None),
    ],
)
@pytest.mark.parametrize(
    "options", [ON, {"carry_clip": ltd.clip_carry_gradient(1.0)}], ids=str
)
def test_a_batch_in_doubt_is_refused(carry, inputs, options):
    same = lambda w, h, x: (w * h, None)
    with pytest.raises(ValueError, match="`num_batch_dims` must be given where shapes"):
        ltd.unroll(same, 1.0, carry, inputs, 20, **options)
    ltd.unroll(same, 1.0, carry, inputs, 20, num_batch_dims=0, **options)
    ltd.unroll(same, 1.0, carry, inputs, 20)


@pytest.mark.parametrize("flow_params", ["all", "recurrent"])
def test_what_a_cell_closes_over_counts_as_parameters(flow_params):
    options = ON | {"flow_params": flow_params}

    def loss(w):
        return last(ltd.unroll, lambda _, h, x: cell(w, h, x), (), START, X, **options)

    close(gradient(loss), of_batch(**options))


def test_a_tree_of_flags_leaves_out_what_a_cell_closes_over():
    def loss(w, **options):
        closing = lambda p, h, x: cell(w, h, x + p)
        return last(ltd.unroll, closing, jnp.zeros(H), START, X, **options)

    found = gradient(partial(loss, flow_params=True, **ON))
    close(found, gradient(loss))


@pytest.mark.parametrize("options", [{}, ON, ON | {"remat": True}], ids=str)
def test_a_cell_that_runs_by_itself(options):
    by_itself = lambda w, h, x: cell(w, h, 0.0 if x is None else x)

    def loss(w, inputs, **length):
        given = length | options | {"num_batch_dims": 1}
        return last(ltd.unroll, by_itself, w, START, inputs, **given)

    close(
        gradient(partial(loss, inputs=None, length=T)),
        gradient(partial(loss, inputs=np.zeros_like(X))),
    )


@pytest.mark.parametrize("options", [{}, ON], ids=str)
def test_reverse_runs_from_the_end(options):
    mask = _rng.random((T, B)) < 0.7
    resets = _rng.random((T, B)) < 0.2
    weights = np.arange(1.0, T + 1)[:, None, None]

    def loss(w, run, flip):
        _, y = run(cell, w, START, flip(X), mask=flip(mask), resets=flip(resets))
        return jnp.sum(weights * flip(jnp.sin(y)))

    run = partial(ltd.unroll, reset_carry=START, **options)
    close(
        gradient(lambda w: loss(w, partial(run, reverse=True), lambda x: x)),
        gradient(lambda w: loss(w, run, lambda x: x[::-1])),
    )
    scanned = jax.lax.scan(partial(cell, W), START, X, reverse=True)
    close(ltd.unroll(cell, W, START, X, reverse=True, **options), scanned)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": None}, "`length` must be an int >= 0 where `inputs` has no leaf"),
        ({"inputs": (), "length": 2.0}, "`length` must be an int >= 0"),
        ({"inputs": X, "length": T + 1}, f"`length` must be None or .*, {T}; got"),
        ({"inputs": X, "reverse": 1}, "`reverse` must be True or False; got 1"),
        ({"inputs": X, "num_batch_dims": -1}, "`num_batch_dims` must be an int >= 0"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        ltd.unroll(cell, W, START, **given)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_an_array_that_an_inner_jit_holds_is_closed_over(weight: float):
    ramp = np.arange(4, dtype=np.float32)

    def cell(w: Any, h: Any, x: Any) -> Any:
        scaled = jax.jit(
            lambda h: jax.lax.cond(h[0, 0] > 0, lambda h: h * ramp, jnp.sin, h)
        )
        h = jnp.tanh(scaled(h @ w) + x)
        return h, h

    w, x = jnp.full((4, 4), 0.1), jnp.linspace(-1, 1, 24).reshape(3, 2, 4)

    def last(scan: Any) -> Any:
        def loss(w: Any) -> jax.Array:
            return jnp.sum(scan(w)[1][-1] ** 2)

        return jax.jit(jax.value_and_grad(loss))(w)

    run = partial(ltd.unroll, cell, flow_weight=weight, flow_params=False)
    found = last(lambda w: run(w, jnp.ones((2, 4)), x))
    expected = last(lambda w: jax.lax.scan(partial(cell, w), jnp.ones((2, 4)), x))
    close(found, expected)
