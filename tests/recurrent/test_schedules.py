"""Schedules for `flow_weight`: one program for all steps, and Ω scaled by each."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import T, X, simple_layer
from tests.recurrent.cells import case, loss_of
from tests.recurrent.oracles import assert_close, flow_loss, minus

SCHEDULES: dict[str, Any] = {
    "constant": optax.constant_schedule(2.0),
    "1/t": lambda step: 2 / (1 + step),
    "exponential": optax.exponential_decay(2.0, 1, 0.5),
    "warm-up and cosine": optax.warmup_cosine_decay_schedule(0.0, 2.0, 2, 5),
}


def test_every_schedule_runs_in_one_program():
    """The layer's own weight gives way, and the gradient of the loss stays."""

    def loss(model: Any, x: Any, weight: Any) -> jax.Array:
        return jnp.sum(model(x, flow_weight=weight)[:, -1] ** 2)

    @chex.assert_max_traces(n=1)
    def grad(model: Any, x: Any, which: Any, step: Any) -> Any:
        weights = [jnp.float32(f(step)) for f in (lambda _: 0.0, *SCHEDULES.values())]
        weight = jnp.stack(weights)[which]
        grads = nnx.grad(loss)(model, x, weight)
        return nnx.to_pure_dict(grads), weight

    layer = simple_layer(flow_weight=5.0)
    jitted: Any = nnx.jit(grad)
    run = lambda which, step: jitted(layer, X, jnp.int32(which), jnp.int32(step))
    plain, none = run(0, 0)
    assert float(none) == 0
    whole = jax.tree.map(lambda g: g / 2, minus(run(1, 0)[0], plain))
    assert all(np.max(np.abs(g)) > 1e-2 for g in jax.tree.leaves(whole))
    for which, schedule in enumerate(SCHEDULES.values(), 1):
        for step in range(6):
            found, weight = run(which, step)
            expected = float(schedule(step))
            np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-7)
            part = jax.tree.map(lambda g, w=expected: w * g, whole)
            assert_close(minus(found, plain), part, 1e-4, 1e-5)


def test_a_train_loop_in_a_scan():
    """The same steps one by one, with the weights as numbers."""
    c = case("simple")
    tx = optax.chain(ltd.clip_or_random_step(1.0, key=0), optax.adam(0.05))
    schedule = SCHEDULES["warm-up and cosine"]

    def step(state: Any, weight: Any) -> Any:
        params, opt_state = state
        loss = lambda p: flow_loss(c, loss_of, p, c.carry, c.inputs, flow_weight=weight)
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    @jax.jit
    def train(state: Any) -> Any:
        return jax.lax.scan(lambda s, i: step(s, schedule(i)), state, jnp.arange(T))

    start = state = (c.params, tx.init(c.params))
    (params, _), losses = train(start)
    one, values = jax.jit(step), []
    for i in range(T):
        state, value = one(state, float(schedule(i)))
        values.append(value)
    assert_close((params, losses), (state[0], np.stack(values)), 1e-4, 1e-5)
    unscheduled = start
    for _ in range(T):
        unscheduled, _ = one(unscheduled, 0.0)
    assert np.max(np.abs(minus(params, unscheduled[0])["W"])) > 1e-2
