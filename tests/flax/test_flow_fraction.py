"""A layer draws its share of the time steps from a random stream of its own."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import optax_ltd as ltd
from tests.flax.models import RTOL, F, H, X, squares
from tests.recurrent.oracles import assert_close


def _layer(seed: int, fraction: float = 0.4) -> ltd.FlowRNN:
    cell = nnx.SimpleCell(F, H, rngs=nnx.Rngs(0))
    rngs = nnx.Rngs(0, flow=seed)
    return ltd.FlowRNN(cell, flow_weight=2.0, flow_fraction=fraction, rngs=rngs)


@nnx.jit
def _step(model: Any, x: Any) -> Any:
    def read(model: Any, x: Any) -> Any:
        return jnp.sum(model(x)[:, -1] ** 2)

    (_, flow), grads = ltd.value_and_grad(read)(model, x)
    return flow[""], nnx.to_pure_dict(grads)["cell"]["dense_h"]["kernel"]


def test_draws_anew_at_each_call_and_again_from_the_seed():
    layer, same, other = _layer(1), _layer(1), _layer(2)
    kernels = [np.asarray(_step(layer, X)[1]) for _ in range(6)]
    assert layer.flow_rngs is not None
    assert int(layer.flow_rngs.count[...]) == 6
    # Of ten draws of two in five steps, six calls see several.
    assert len({k.tobytes() for k in kernels}) >= 3
    again, others = (
        [np.asarray(_step(layer, X)[1]) for _ in kernels] for layer in (same, other)
    )
    np.testing.assert_array_equal(again, kernels)
    assert np.any(np.asarray(others) != np.asarray(kernels))


def test_what_is_reported_is_of_every_step():
    (part, _), (whole, _) = (_step(_layer(1, share), X) for share in (0.4, 1.0))
    assert_close(part.omega, whole.omega, RTOL)
    assert_close(part.gains, whole.gains, RTOL)


def test_without_the_penalty_nothing_is_drawn():
    layer: Any = _layer(1)
    layer.flow_weight = 0.0
    nnx.jit(nnx.grad(squares))(layer, X)
    assert layer.flow_rngs is not None
    assert int(layer.flow_rngs.count[...]) == 0
