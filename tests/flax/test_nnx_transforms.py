"""`FlowRNN` with Ω on under NNX's transformations, and over parts of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import ATOL, RTOL, F, H, T, simple_layer, squares
from tests.recurrent.oracles import assert_close, minus

SHARDS, EACH = 2, 2
PARTS = np.sin(np.arange(SHARDS * EACH * T * F, dtype=np.float32))
PARTS = PARTS.reshape(SHARDS, EACH, T, F)
X = PARTS.reshape(-1, T, F)


def _layer(flow_weight: float) -> ltd.FlowRNN:
    return simple_layer(flow_weight=flow_weight)


def _leaves(state: Any) -> list[Any]:
    return jax.tree.leaves(state)


def _functional(model: Any) -> tuple[Callable[..., Any], Any]:
    """The gradient of `squares` as a function of parameters and inputs."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params: Any, x: Any) -> jax.Array:
        return squares(nnx.merge(graphdef, params, rest, copy=True), x)

    return jax.grad(loss), params


def test_an_ensemble_is_each_member_alone():
    @nnx.jit
    def make(key: Any) -> ltd.FlowRNN:
        cell = nnx.SimpleCell(F, H, rngs=nnx.Rngs(key))
        return ltd.FlowRNN(cell, flow_weight=2.0)

    keys = jax.random.split(jax.random.key(0), 2)
    ensemble = nnx.vmap(make)(keys)
    grad = ltd.value_and_grad(squares)
    together = nnx.jit(nnx.vmap(grad, in_axes=(0, None)))
    (losses, flow), grads = together(ensemble, X)
    alone = nnx.jit(grad)
    for i, key in enumerate(keys):
        (loss, seen), expected = alone(make(key), X)
        member = [np.asarray(g)[i] for g in _leaves((losses, flow[""], grads))]
        assert_close(member, _leaves((loss, seen[""], expected)), RTOL, ATOL)
    assert np.std(np.asarray(flow[""].omega)) > 1e-3


class Remat(nnx.Module):
    """What is inside is computed again in the backward pass."""

    def __init__(self, inside: Any, how: Any):
        self.inside = inside
        self.how = how

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.how(self.inside, x)


def _by_jax(model: Any, x: jax.Array) -> jax.Array:
    graphdef, state = nnx.split(model)
    return jax.checkpoint(lambda s, x: nnx.merge(graphdef, s)(x))(state, x)


def test_remat_changes_nothing():
    (off, params), (on, _) = (_functional(_layer(w)) for w in (0.0, 2.0))
    by_nnx = nnx.remat(lambda model, x: model(x))
    inside = [_functional(Remat(_layer(2.0), how))[0] for how in (by_nnx, _by_jax)]

    @jax.jit
    def run(params: Any) -> Any:
        wrapped = nnx.State({"inside": params})
        return off(params, X), on(params, X), *(grad(wrapped, X) for grad in inside)

    plain, expected, *found = map(_leaves, run(params))
    for grads in found:
        assert_close(grads, expected, RTOL, ATOL)
    assert max(np.max(np.abs(g)) for g in minus(expected, plain)) > 0.05


def test_microbatches_make_the_step_of_the_whole_batch():
    """Ω is a mean of terms of single examples, as the loss is."""

    @nnx.jit
    def step(model: Any, optimizer: Any, x: Any) -> None:
        optimizer.update(model, nnx.grad(squares)(model, x))

    ends = []
    for parts, every in ((X[None], 1), (PARTS, SHARDS)):
        model = _layer(2.0)
        tx = optax.MultiSteps(optax.sgd(0.1), every).gradient_transformation()
        optimizer: Any = nnx.Optimizer(model, tx, wrt=nnx.Param)
        before = _leaves(nnx.state(model, nnx.Param))
        for x in parts:
            step(model, optimizer, x)
        ends.append(minus(_leaves(nnx.state(model, nnx.Param)), before))
    one, several = ends
    assert_close(several, one, RTOL, ATOL)
    assert max(np.max(np.abs(move)) for move in one) > 0.01


def test_shards_make_the_gradient_of_the_whole_batch():
    """Each has its part of the batch; their gradients are averaged."""
    grad, params = _functional(_layer(2.0))

    def shard(x: jax.Array) -> Any:
        return jax.lax.pmean(grad(params, x), "shards")

    found, expected = jax.jit(
        lambda x: (jax.vmap(shard, axis_name="shards")(x), grad(params, X))
    )(PARTS)
    for i in range(SHARDS):
        member = [np.asarray(g)[i] for g in _leaves(found)]
        assert_close(member, _leaves(expected), RTOL, ATOL)


def test_a_carry_clip_whose_bound_is_an_array():
    def bounded(bound: Any) -> ltd.FlowRNN:
        return simple_layer(carry_clip=ltd.clip_carry_gradient(bound))

    def gradient(bound: Any) -> Any:
        return nnx.jit(nnx.grad(squares))(bounded(bound), X)

    @jax.jit
    def run(bounds: Any) -> Any:
        members = nnx.vmap(bounded)(bounds)
        of_members = nnx.vmap(nnx.grad(squares), in_axes=(0, None))(members, X)
        return gradient(0.01), gradient(1.0), of_members

    found = gradient(jnp.float32(0.01))
    expected, loose, of_members = run(np.array([0.01, 1.0], np.float32))
    assert_close(found, expected, RTOL, ATOL)
    assert not np.allclose(_leaves(loose)[0], _leaves(found)[0])
    first = [np.asarray(g)[0] for g in _leaves(of_members)]
    assert_close(first, _leaves(expected), RTOL, ATOL)
