"""The clip of the error signal inside back-propagation through time."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.recurrent.oracles import finite
from tests.slow import slow_but

T, B, H = 6, 2, 3


def _linear(w: Any, h: Any, x: Any) -> Any:
    h = h @ w + x
    return h, h


def _by_hand(w: np.ndarray, last: np.ndarray, clip: Any) -> list[np.ndarray]:
    """δ_T … δ_1 of a linear net whose loss reads the last state, clipped each step."""
    signals, delta = [], last
    for _ in range(T):
        delta = clip(delta)
        signals.append(delta)
        delta = delta @ w.T
    return signals[::-1]


def _norm_clip(delta: np.ndarray) -> np.ndarray:
    return delta * np.minimum(1, 0.5 / np.linalg.norm(delta, axis=-1, keepdims=True))


def _value_clip(delta: np.ndarray) -> np.ndarray:
    return np.clip(delta, -0.5, 0.5)


@pytest.mark.parametrize(
    ("carry_clip", "by_hand"),
    [
        (ltd.clip_carry_gradient(0.5), _norm_clip),
        (ltd.clip_carry_gradient(max_value=0.5), _value_clip),
    ],
    ids=["norm", "value"],
)
@pytest.mark.parametrize("flow_weight", [0.0, 1.0])
def test_linear_net_by_hand(carry_clip: Any, by_hand: Any, flow_weight: float) -> None:
    rng = np.random.default_rng(0)
    w = np.asarray(1.5 * np.eye(H) + 0.1 * rng.normal(size=(H, H)), np.float32)
    last = np.asarray(rng.normal(size=(B, H)) * [[0.01], [1.0]], np.float32)

    def loss(x: Any, record: Any) -> Any:
        _, y = ltd.unroll(
            _linear,
            w,
            jnp.zeros((B, H)),
            x,
            flow_weight=flow_weight,
            carry_clip=carry_clip,
            flow_record=record,
        )
        return jnp.sum(y[-1] * last)

    zeros = ltd.FlowRecord.zeros((T, B))
    to_x, seen = jax.jit(jax.grad(loss, (0, 1)))(jnp.zeros((T, B, H)), zeros)
    expected = np.stack(_by_hand(w, last, by_hand))
    # x enters h as it is, so its gradient is the clipped δ_t itself.
    np.testing.assert_allclose(to_x, expected, rtol=1e-5)
    np.testing.assert_allclose(
        seen.error_norms, np.linalg.norm(expected, axis=-1), rtol=1e-5
    )
    clipped = np.asarray(seen.clipped)
    assert clipped[-1].tolist() == [0.0, 1.0]
    assert clipped[0, 1] == 1.0


WITH_FLOW = {"flow_weight": 1.0, "remat": True}


@pytest.mark.parametrize(
    ("kind", "options"),
    slow_but(
        [("max_norm", WITH_FLOW), ("max_value", {})],
        list(itertools.product(("max_norm", "max_value"), ({}, WITH_FLOW))),
    ),
    ids=str,
)
def test_a_bound_for_each_member(kind: str, options: Any) -> None:
    w = np.float32(1.5 * np.eye(H) + 0.1)
    x = np.sin(np.arange(T * B * H, dtype=np.float32)).reshape(T, B, H)

    def loss(w: Any, bound: Any) -> Any:
        clip = ltd.clip_carry_gradient(**{kind: bound})
        carry = jnp.zeros((B, H))
        _, y = ltd.unroll(_linear, w, carry, x, carry_clip=clip, **options)
        return jnp.sum(y[-1] ** 2)

    bounds = np.array([0.01, 0.5], np.float32)
    # Alone a number of NumPy, and one of Python.
    numbers = bounds[0], float(bounds[1])

    @jax.jit
    def everything(w: Any, bounds: Any) -> Any:
        of_members = jax.vmap(jax.grad(loss, (0, 1)), (None, 0))(w, bounds)
        return of_members, [jax.grad(loss)(w, number) for number in numbers]

    (to_w, to_bound), alone = everything(w, bounds)
    assert not np.any(to_bound)
    np.testing.assert_allclose(to_w, np.stack(alone), rtol=1e-5)


def test_equal_bounds_make_equal_clips() -> None:
    of_numpy, clip = map(ltd.clip_carry_gradient, (np.float32(0.5), 0.5))
    assert (of_numpy, hash(of_numpy)) == (clip, hash(clip))


def test_an_exploding_layer_counts_its_clipped_steps() -> None:
    cell = nnx.SimpleCell(1, H, activation_fn=lambda x: 3 * x, rngs=nnx.Rngs(0))
    rnn = ltd.FlowRNN(cell, carry_clip=ltd.clip_carry_gradient(1e-3))
    loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
    graphdef, state = nnx.split(rnn)
    report = lambda state, x: ltd.value_and_grad(loss_fn)(nnx.merge(graphdef, state), x)
    (_, flow), grads = jax.jit(report)(state, jnp.ones((B, T, 1)))
    assert np.sum(flow[""].clipped) == T * B
    np.testing.assert_allclose(flow[""].error_norms, 1e-3, rtol=1e-5)
    assert finite(grads)


def test_nan_is_not_hidden() -> None:
    run = lambda clip, error: jax.jit(lambda error: clip([error], 1))(np.array(error))
    clip = ltd.clip_carry_gradient(max_value=1.0)
    (error,), clipped = run(clip, [[np.nan, 0.0], [5.0, 0.0]])
    assert np.isnan(np.asarray(error)[0, 0])
    assert clipped.tolist() == [False, True]
    (error,), _ = run(ltd.clip_carry_gradient(1.0), [[np.inf, 1.0]])
    assert not np.isfinite(np.asarray(error)[0, 0])


@pytest.mark.parametrize(
    "bounds",
    [{}, {"max_norm": 1.0, "max_value": 1.0}],
)
def test_exactly_one_bound(bounds: dict[str, float]) -> None:
    with pytest.raises(
        ValueError,
        match=r"^`max_norm` or `max_value` must be given, and not both; got ",
    ):
        ltd.clip_carry_gradient(**bounds)


@pytest.mark.parametrize("bound", [0, -1.0, float("inf"), float("nan"), True, "1"])
def test_bound_out_of_range(bound: Any) -> None:
    with pytest.raises(ValueError, match=r"^`max_value` must be a finite number > 0"):
        ltd.clip_carry_gradient(max_value=bound)
