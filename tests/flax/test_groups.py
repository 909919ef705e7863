"""Groups of carry leaves in the layers of both APIs, and in their reports."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import ATOL, RTOL, B, F, H, T, X, squares
from tests.recurrent.oracles import assert_close

GROUPS: Any = {"fast": "fast", "slow": ["slow", "slow"]}


def _step(module: Any, carry: Any, x: jax.Array) -> Any:
    """A carry of dicts and lists, which Linen would turn into other containers."""
    fast, (slow, slower) = carry["fast"], carry["slow"]
    fast = jnp.tanh(module(jnp.concatenate([x, fast, slow], -1)))
    slow = 0.8 * slow + 0.2 * fast
    return {"fast": fast, "slow": [slow, 0.9 * slower + 0.1 * slow]}, fast


def _start(shape: tuple[int, ...]) -> Any:
    zeros = jnp.zeros((*shape[:-1], H))
    return {"fast": zeros, "slow": [zeros, zeros]}


class NNXCell(nnx.RNNCellBase):
    def __init__(self):
        self.dense = nnx.Linear(F + 2 * H, H, rngs=nnx.Rngs(0))

    def __call__(self, carry: Any, x: jax.Array) -> Any:
        return _step(self.dense, carry, x)

    def initialize_carry(self, input_shape: Any, *_: Any, **__: Any) -> Any:
        return _start(input_shape)

    @property
    def num_feature_axes(self) -> int:
        return 1


class LinenCell(nn.RNNCellBase):
    @nn.compact
    def __call__(self, carry: Any, x: jax.Array) -> Any:
        return _step(nn.Dense(H), carry, x)

    def initialize_carry(self, rng: Any, input_shape: Any) -> Any:
        return _start(input_shape)

    @property
    def num_feature_axes(self) -> int:
        return 1


class Model(nnx.Module):
    def __init__(self, **options: Any):
        self.rnn = ltd.FlowRNN(NNXCell(), **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.rnn(x)[:, -1]


class LinenModel(nn.Module):
    options: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return ltd.linen.FlowRNN(LinenCell(), name="rnn", **self.options)(x)[:, -1]


def _weights() -> Any:
    """Kernel and bias, the same in both APIs."""
    dense: Any = NNXCell().dense
    return dense.kernel[...], dense.bias[...]


def _nnx(**options: Any) -> Any:
    """What ``value_and_grad`` gives; kernel and bias of the gradient."""
    run = nnx.jit(ltd.value_and_grad(squares))
    (loss, flow), grads = run(Model(**options), X)
    dense = grads["rnn"]["cell"]["dense"]
    return loss, flow, (dense["kernel"][...], dense["bias"][...])


def _linen(**options: Any) -> Any:
    model: Any = LinenModel(options)
    dense = dict(zip(("kernel", "bias"), _weights(), strict=True))
    params = {"params": {"LinenCell_0": {"Dense_0": dense}}}
    loss_fn = lambda params, x: jnp.sum(model.apply(params, x) ** 2) / B
    (loss, flow), grads = jax.jit(ltd.linen.value_and_grad(loss_fn))(params, X)
    bias, kernel = jax.tree.leaves(grads)
    return loss, flow, (kernel, bias)


def _by_unroll() -> Any:
    cell = lambda p, carry, x: _step(lambda z: z @ p[0] + p[1], carry, x)

    def loss(params: Any, records: Any) -> jax.Array:
        _, outputs = ltd.unroll(
            cell,
            params,
            _start((B, F)),
            jnp.moveaxis(X, 1, 0),
            flow_weight=2.0,
            flow_groups=GROUPS,
            flow_record=records,
        )
        return jnp.sum(outputs[-1] ** 2) / B

    @jax.jit
    def run(params: Any, records: Any) -> Any:
        value, (grads, records) = jax.value_and_grad(loss, (0, 1))(params, records)
        of_layer = ltd.LayerFlow.from_record
        return value, {f"rnn/{k}": of_layer(r) for k, r in records.items()}, grads

    zeros = dict.fromkeys(("fast", "slow"), ltd.FlowRecord.zeros((T, B)))
    return run(_weights(), zeros)


def test_gradients_and_reports_are_those_of_unroll():
    expected = _by_unroll()
    for run in (_nnx, _linen):
        found = run(flow_weight=2.0, flow_groups=GROUPS)
        assert_close(found, expected, RTOL, ATOL)


def test_the_groups_of_a_layer_that_is_the_model_have_their_names_alone():
    last = lambda y: jnp.sum(y[:, -1])
    layer: Any = ltd.linen.FlowRNN(LinenCell(), flow_groups=GROUPS)

    def layers(x: Any) -> Any:
        rnn = ltd.FlowRNN(NNXCell(), flow_groups=GROUPS)
        of_nnx = ltd.gradient_flow(lambda model, x: last(model(x)), rnn, x)
        loss_fn = lambda params, x: last(layer.apply(params, x))
        params = layer.init(jax.random.key(0), x)
        of_linen = ltd.linen.gradient_flow(loss_fn, params, x)
        for report in (of_nnx, of_linen):
            assert list(report.layers) == ["fast", "slow"]
        return of_linen.layers["slow"].horizon()

    assert jax.eval_shape(layers, X).shape == (B,)
