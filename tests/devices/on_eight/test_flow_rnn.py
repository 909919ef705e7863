"""``FlowRNN`` with Ω on and resets, the batch divided over eight devices."""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import optax_ltd as ltd
from tests.devices.gradients import mesh_of

B, T, F, H = 16, 7, 3, 5
X = jnp.sin(jnp.arange(float(B * T * F))).reshape(B, T, F)


class Model(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        cell = nnx.SimpleCell(F, H, rngs=rngs)
        self.rnn = ltd.FlowRNN(cell, flow_weight=2.0)
        self.head = nnx.Linear(H, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.rnn(x, resets=x[..., 0] > 0.9))


def loss_fn(model: Model, x: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(model(x) - 1))


def report_of(params: Any, x: jax.Array) -> Any:
    """Loss, Ω, its share of counted terms, and the gradient."""
    model = nnx.merge(nnx.graphdef(Model()), params)
    (loss, flow), grads = ltd.value_and_grad(loss_fn)(model, x)
    return loss, flow["rnn"].omega, flow["rnn"].active_fraction, nnx.to_pure_dict(grads)


@functools.cache
def alone() -> tuple[Any, Any]:
    params = nnx.state(Model())
    return params, jax.jit(report_of)(params, X)


def assert_as_alone(found: Any) -> None:
    expected = alone()[1]
    assert expected[1] > 0.1
    for left, right in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("shape", [(8,), (4, 2), (2, 4)], ids=str)
def test_jit_with_a_divided_batch(shape: tuple[int, ...]):
    mesh = mesh_of(shape)
    params = jax.device_put(alone()[0], NamedSharding(mesh, P()))
    x = jax.device_put(X, NamedSharding(mesh, P(mesh.axis_names)))
    assert_as_alone(jax.jit(report_of)(params, x))


def test_an_accelerator_gathers_nothing_of_the_batch(monkeypatch: pytest.MonkeyPatch):
    """Only a CPU merges time and batch, for one large product."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    mesh = mesh_of((8,))
    params = jax.device_put(alone()[0], NamedSharding(mesh, P()))
    x = jax.device_put(X, NamedSharding(mesh, P("x")))
    compiled = jax.jit(lambda *args: report_of(*args)).lower(params, x).compile()
    program = compiled.as_text() or ""
    assert "all-reduce" in program
    assert "all-gather" not in program
    assert_as_alone(compiled(params, x))


def test_shard_map_and_the_mean_over_devices():
    mean = lambda params, x: jax.lax.pmean(report_of(params, x), "x")
    mapped = jax.shard_map(
        mean,
        mesh=mesh_of((8,)),
        in_specs=(P(), P("x")),
        out_specs=P(),
        check_vma=False,
    )
    assert_as_alone(jax.jit(mapped)(alone()[0], X))


def test_shard_map_that_checks_what_varies():
    """The first carry and that of resets are the same everywhere, as they are made."""

    def gradient(params: Any, x: jax.Array) -> Any:
        # Else JAX adds up what each device gets of them, and Ω counts eight times.
        params = jax.lax.pcast(params, "x", to="varying")
        model = lambda params: nnx.merge(graphdef, params, rest, copy=True)
        loss = lambda params: loss_fn(model(params), x)
        return jax.lax.pmean(nnx.to_pure_dict(jax.grad(loss)(params)), "x")

    mapped = jax.shard_map(
        gradient, mesh=mesh_of((8,)), in_specs=(P(), P("x")), out_specs=P()
    )
    graphdef, params, rest = nnx.split(Model(), nnx.Param, ...)
    found, expected = jax.jit(mapped)(params, X), alone()[1][-1]
    chex.assert_trees_all_close(found, expected, rtol=2e-5, atol=2e-6)


def test_a_linen_layer_that_begins_inside_shard_map():
    """Its variables and its first carry are made there; Ω is an eighth on each."""

    def loss(variables: Any, x: jax.Array, flow_weight: Any = 2.0) -> jax.Array:
        layer = ltd.linen.FlowRNN(nn.SimpleCell(H), return_carry=True)
        out: Any = layer.apply(variables, x, flow_weight=flow_weight)
        return jnp.mean(out[0] ** 2) + jnp.mean(out[1] ** 3)

    def init(x: jax.Array) -> Any:
        return ltd.linen.FlowRNN(nn.SimpleCell(H)).init(jax.random.key(0), x)

    def of_all(variables: Any, x: jax.Array) -> jax.Array:
        return jax.lax.pmean(loss(variables, x, 2.0 / 8), "x")

    mesh = mesh_of((8,))
    inside = jax.shard_map(init, mesh=mesh, in_specs=P("x"), out_specs=P())
    variables = jax.jit(inside)(X)
    chex.assert_trees_all_equal(variables, jax.jit(init)(X))
    mapped = jax.shard_map(of_all, mesh=mesh, in_specs=(P(), P("x")), out_specs=P())
    found, expected = (jax.jit(jax.grad(f))(variables, X) for f in (mapped, loss))
    chex.assert_trees_all_close(found, expected, rtol=2e-5, atol=2e-6)
