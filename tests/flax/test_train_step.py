"""A whole train step lowers for every platform, from any of them."""

from typing import Any

import jax
import jax.export
import numpy as np
import optax
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import Stacked, X, squares
from tests.recurrent.oracles import assert_close


def _step() -> tuple[Any, Any]:
    """A functional train step and its arguments."""
    graphdef, params, rest = nnx.split(Stacked(), nnx.Param, ...)
    tx = optax.chain(ltd.clip_or_random_step(1.0, key=0), optax.sgd(0.1))

    def step(params: Any, state: Any, x: jax.Array) -> Any:
        model = nnx.merge(graphdef, params, rest, copy=True)
        (loss, flow), grads = ltd.value_and_grad(squares)(model, x)
        told = {k: v.omega for k, v in flow.items()}
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return loss, params, state, told | ltd.metrics(state)

    return step, (params, tx.init(params), X)


def test_exports_for_every_platform():
    step, args = _step()
    leaves, tree = jax.tree.flatten(args)

    @jax.jit
    def flat(*leaves: Any) -> Any:
        return jax.tree.leaves(step(*jax.tree.unflatten(tree, leaves)))

    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(flat, platforms=platforms)(*leaves)
    assert exported.platforms == platforms
    found, expected = exported.call(*leaves), flat(*leaves)
    assert_close(found, expected, 1e-5, 1e-6)
    assert np.isfinite(found[0])
