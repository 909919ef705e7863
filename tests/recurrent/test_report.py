"""What a report tells of an error signal: how far it reaches, where it breaks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

import optax_ltd as ltd
from optax_ltd._numerics.example_norms import norms

INF, NAN = np.inf, np.nan


def layer_flow(norms: jax.typing.ArrayLike) -> ltd.LayerFlow:
    """Of norms ``[T, B]``; a record of one call, where gains do not matter."""
    record = ltd.FlowRecord.zeros(jnp.shape(jnp.asarray(norms)))
    return ltd.LayerFlow.from_record(
        record._replace(error_norms=jnp.asarray(norms, jnp.float32), calls=jnp.ones(()))
    )


@jax.jit
def told(norms: jax.Array) -> dict[str, jax.Array]:
    flow = layer_flow(norms)
    return {"first": flow.first_nonfinite, "horizon": flow.horizon(0.1)}


def examples(*norms: list[float]) -> np.ndarray:
    """The norms of one example after another, first step first."""
    return np.transpose(norms)


def test_first_nonfinite_is_the_first_on_the_way_back():
    norms = examples(
        [1.0, 1.0, 1.0, 1.0],
        [NAN, NAN, INF, 1.0],
        [1.0, INF, 0.0, 1.0],
        [NAN, 1.0, 1.0, 1.0],
        [NAN, NAN, NAN, NAN],
    )
    first = told(norms)["first"]
    np.testing.assert_array_equal(first, [-1, 2, 1, 0, 3])
    chex.assert_type(first, jnp.int32)


def test_horizon_of_a_signal_that_is_not_finite():
    """It ends where the signal is lost, whichever way."""
    norms = examples(
        [NAN, INF, 100.0, 10.0, 1.0],  # explodes
        [NAN, 1.0, 1.0, 1.0, 1.0],
        [NAN, 1.0, 0.01, 1.0, 1.0],  # fades before
        [1.0, 1.0, 1.0, 1.0, NAN],  # was none to begin with
        [NAN, NAN, NAN, NAN, NAN],
        [1.0, NAN, 1.0, 1.0, 0.0],  # counted from step 3
        [1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.01, 0.1, 1.0, 20.0, 100.0],  # a share of the last one
    )
    horizon = told(norms)["horizon"]
    np.testing.assert_array_equal(horizon, [3, 4, 2, 0, 0, 2, 4, 0, 2])


def test_an_error_signal_that_explodes_in_a_net():
    """δ grows tenfold a step back from 1: Inf before t = T - 39, NaN after that."""

    def loss(record: ltd.FlowRecord) -> jax.Array:
        def cell(w: jax.Array, h: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
            h = w * h
            return h, h

        _, y = ltd.unroll(
            cell,
            jnp.float32(10.0),
            jnp.zeros((2, 1)),
            jnp.zeros((60, 2, 1)),
            flow_record=record,
        )
        return y[-1, 0, 0] + 0 * y[-1, 1, 0]

    @jax.jit
    def report(record: ltd.FlowRecord) -> tuple[jax.Array, jax.Array]:
        flow = ltd.LayerFlow.from_record(jax.grad(loss)(record))
        return flow.first_nonfinite, flow.horizon()

    first, horizon = report(ltd.FlowRecord.zeros((60, 2)))
    # 1e38 is the last power of ten below the largest float.
    np.testing.assert_array_equal(first, [60 - 1 - 39, -1])
    np.testing.assert_array_equal(horizon, [39, 0])


def test_a_nan_is_seen_in_arrays_of_any_size():
    """XLA's maximum on a CPU leaves it out of some, such as these."""
    for value in (np.nan, np.inf, 0.0):
        signal = jnp.full((300, 2, 8), value, jnp.float32).at[0].set(1.0)
        seen = jax.jit(norms, static_argnums=1)([signal], 2)
        np.testing.assert_allclose(seen[0], np.sqrt(8), rtol=1e-6)
        np.testing.assert_array_equal(seen[1:], value)


def test_the_horizon_is_that_of_one_loss_though_every_step_has_one():
    """Each step halves the signal: below .01 at lag 7, wherever the loss reads."""

    def report(weights: np.ndarray) -> ltd.LayerFlow:
        def loss(record: ltd.FlowRecord) -> jax.Array:
            cell = lambda w, h, x: (jnp.tanh(h @ w + x), h)
            start, inputs = jnp.zeros((2, 8)), jnp.zeros((40, 2, 8))
            w = 0.5 * jnp.eye(8)
            carry, y = ltd.unroll(cell, w, start, inputs, flow_record=record)
            return jnp.sum(carry) + jnp.sum(weights[:, None, None] * y)

        zeros = ltd.FlowRecord.zeros((40, 2))
        return ltd.LayerFlow.from_record(jax.jit(jax.grad(loss))(zeros))

    for weights in (np.zeros(40), np.ones(40)):
        flow = report(weights)
        np.testing.assert_array_equal(flow.horizon(), 7)
        halved = 0.5 ** np.arange(40.0)[::-1, None]
        np.testing.assert_allclose(flow.retained, halved + np.zeros(2), rtol=1e-4)


def test_under_jit_and_vmap():
    norms = np.asarray([[[NAN], [0.001], [1.0]], [[1.0], [1.0], [1.0]]])

    @jax.jit
    @jax.vmap
    def found(norms: jax.Array) -> tuple[jax.Array, jax.Array]:
        flow = layer_flow(norms)
        return flow.horizon(), flow.first_nonfinite

    horizon, first = found(norms)
    np.testing.assert_array_equal(horizon, [[1], [3]])
    np.testing.assert_array_equal(first, [[0], [-1]])
