"""``seq_lengths``: what lies beyond them, and lengths of none or too many steps."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.recurrent.oracles import assert_close
from tests.slow import slow_but

B, T, F, H = 3, 6, 2, 3
_rng = np.random.default_rng(0)
X: Any = np.float32(_rng.standard_normal((B, T, F)))
START: Any = np.full((B, H), 0.5, np.float32)
LENGTHS: Any = np.array([6, 4, 1])

nnx_cell = lambda: nnx.SimpleCell(F, H, rngs=nnx.Rngs(0))
LINEN_VARIABLES = nn.RNN(nn.SimpleCell(H)).init(jax.random.key(0), X)


def nnx_layer(layer: Any, **options: Any) -> tuple[Any, Any]:
    """Its parameters, and the layer as a function of them."""
    graphdef, params, rest = nnx.split(layer(nnx_cell(), **options), nnx.Param, ...)

    def apply(params: Any, *args: Any, **call: Any) -> Any:
        return nnx.merge(graphdef, params, rest, copy=True)(*args, **call)

    return params, apply


def linen_layer(layer: Any, **options: Any) -> tuple[Any, Any]:
    """The same behind Linen's interface."""
    return LINEN_VARIABLES, layer(nn.SimpleCell(H), **options).apply


NNX = nnx_layer, ltd.FlowRNN, nnx.RNN
LINEN = linen_layer, ltd.linen.FlowRNN, nn.RNN
BOTH = pytest.mark.parametrize(
    ("make", "ours", "of_flax"), [NNX, LINEN], ids=["nnx", "linen"]
)


@BOTH
def test_lengths_beyond_the_time_axis(make: Any, ours: Any, of_flax: Any):
    """The whole sequence; Flax agrees, but wraps around where it reverses."""

    def run(layer: Any, lengths: Any, **options: Any) -> Any:
        params, apply = make(layer, return_carry=True, **options)
        return apply(params, X, seq_lengths=lengths, initial_carry=START)

    beyond, whole = np.array([8, 300, 4]), np.array([6, 6, 4])
    both = jax.jit(lambda lengths: [run(layer, lengths) for layer in (ours, of_flax)])
    found, expected = both(beyond)
    assert_close(found, expected, 1e-5, 1e-6)
    of_reversed = jax.jit(partial(run, ours, reverse=True, keep_order=True))
    assert_close(of_reversed(beyond), of_reversed(whole), 0.0, 0.0)
    narrow = np.array([200, 255, 4], np.uint8)
    assert_close(of_reversed(narrow), of_reversed(whole), 0.0, 0.0)


@BOTH
@pytest.mark.parametrize("reverse", [False, True])
def test_no_step_at_all(make: Any, ours: Any, of_flax: Any, reverse: bool):
    params, apply = make(ours, return_carry=True, reverse=reverse)
    _, of_flax = make(of_flax, return_carry=True, reverse=reverse)

    @jax.jit
    def everything(start: Any, lengths: Any) -> Any:
        last = lambda start: apply(params, X, seq_lengths=lengths, initial_carry=start)
        carry, back = jax.vjp(lambda start: last(start)[0], start)
        expected, _ = of_flax(params, X, seq_lengths=lengths, initial_carry=start)
        return carry, *back(jnp.ones((B, H))), expected

    found = everything(START, np.array([0, 4, 0]))
    carry, to_start, expected = map(np.asarray, found)
    assert_close(carry[::2], START[::2], 0.0, 0.0)
    assert_close(to_start[::2], np.ones((2, H)), 0.0, 0.0)
    assert_close(carry[1], expected[1], 1e-5, 1e-6)


REVERSE, OMEGA = {"reverse": True}, {"flow_weight": 1.0}


@pytest.mark.parametrize(
    ("make", "ours", "options"),
    slow_but(
        [(*NNX[:2], REVERSE), (*LINEN[:2], OMEGA)],
        [(*api[:2], options) for api in (NNX, LINEN) for options in (REVERSE, OMEGA)],
    ),
    ids=["nnx reverse", "nnx omega", "linen reverse", "linen omega"],
)
def test_what_nobody_reads_is_in_no_gradient(make: Any, ours: Any, options: Any):
    """The gradient is that of the sequences cut at their length."""
    params, apply = make(ours, return_carry=True, **options)

    def loss(params: Any, x: Any, lengths: Any) -> Any:
        valid = (jnp.arange(x.shape[1]) < lengths[:, None])[..., None]
        carry, y = apply(params, x, seq_lengths=lengths)
        return jnp.sum(carry**2) + jnp.sum(jnp.where(valid, y, 0) ** 3)

    def padded(lengths: Any, padding: Any) -> Any:
        beyond = np.arange(T) >= lengths[:, None]
        return np.where(beyond[..., None], padding, X).astype(np.float32)

    grad = jax.jit(jax.grad(loss, (0, 1)))
    found = grad(params, padded(LENGTHS, [np.nan, -np.inf]), LENGTHS)
    assert_close(found, grad(params, padded(LENGTHS, 0.7), LENGTHS), 1e-5, 1e-6)
    same = np.array([4, 4, 4])
    to_params, to_x = grad(params, padded(same, np.nan), same)
    expected = grad(params, X[:, :4], same)
    to_x = np.asarray(to_x)
    assert_close((to_params, to_x[:, :4]), expected, 1e-5, 1e-6)
    assert not np.any(to_x[:, 4:])


@BOTH
def test_nan_within_the_length_is_not_hidden(make: Any, ours: Any, of_flax: Any):
    del of_flax
    params, apply = make(ours)
    x = X.copy()
    x[1, 3] = np.nan  # the last step that counts
    y = np.asarray(apply(params, x, seq_lengths=LENGTHS))
    assert np.isnan(y[1, 3:]).all()
    assert np.isfinite(y[1, :3]).all()
