"""``FlowRNN`` with Ω on and resets, the batch divided over eight devices."""

import functools
from typing import Any

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
