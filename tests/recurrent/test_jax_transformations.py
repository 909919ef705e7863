"""`unroll` under jit, vmap, remat, forward mode and second derivatives."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from optax_ltd._recurrent.loop import time_blocks
from tests.recurrent.cells import B, T, case, loss_of, simple
from tests.recurrent.oracles import assert_close, flow_loss, minus

RTOL, ATOL = 1e-5, 1e-6  # float32
CASE = case("simple")


def _loss(params: Any, weight: Any = 1.0, **options: Any) -> jax.Array:
    args = (CASE, loss_of, params, CASE.carry, CASE.inputs)
    return flow_loss(*args, flow_weight=weight, **options)


@cache
def _gradient() -> Any:
    return jax.jit(jax.grad(_loss))(CASE.params)


def test_traces_once():
    traces = {"step": 0, "cell": 0}

    def cell(p: Any, h: Any, x: Any) -> Any:
        traces["cell"] += 1
        return simple(p, h, x)

    @jax.jit
    @jax.grad
    def step(params: Any, weight: Any) -> Any:
        traces["step"] += 1
        options: Any = {"flow_weight": weight}
        return loss_of(*ltd.unroll(cell, params, CASE.carry, CASE.inputs, **options))

    for weight in (0.0, 1.0, 2.5):
        step(CASE.params, weight)
    assert traces == {"step": 1, "cell": 1}


def test_vmap_over_seeds_is_a_loop_over_seeds():
    scales = np.asarray([0.5, 1.0, 1.5])
    seeds = [{k: s * np.asarray(v) for k, v in CASE.params.items()} for s in scales]
    weights = np.asarray([0.5, 0.0, 2.0])
    record = ltd.FlowRecord.zeros((T, B))
    grad = jax.value_and_grad(
        lambda p, w, r: _loss(p, w, flow_record=r, flow_form="ratio"), (0, 2)
    )
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *seeds)
    together = jax.jit(jax.vmap(grad, in_axes=(0, 0, None)))(stacked, weights, record)
    one = jax.jit(grad)
    for i, params in enumerate(seeds):
        alone = one(params, weights[i], record)
        leaves = [np.asarray(x)[i] for x in jax.tree.leaves(together)]
        assert_close(leaves, jax.tree.leaves(alone), RTOL, ATOL)


def test_remat_changes_nothing():
    remat = jax.jit(jax.grad(jax.checkpoint(_loss)))(CASE.params)
    assert_close(remat, _gradient(), RTOL, ATOL)


@pytest.mark.parametrize("steps", [2, pytest.param(T, marks=pytest.mark.slow), True])
def test_unrolled_loops_change_nothing(steps: Any):
    found = jax.jit(jax.grad(lambda p: _loss(p, unroll=steps)))(CASE.params)
    assert_close(found, _gradient(), RTOL, ATOL)


def test_means_over_microbatches_are_the_whole_batch():
    """Ω under "sum" is a mean of terms of single examples."""
    c = case("lstm", batch=4)

    @jax.jit
    @jax.grad
    def of_rows(params: Any, carry: Any, inputs: Any) -> Any:
        final, y = ltd.unroll(c.cell, params, carry, inputs, flow_weight=2.0)
        return jnp.mean(jnp.sum(y[-1] ** 2, -1)) + jnp.mean(final[0] ** 3)

    def grad(rows: slice) -> Any:
        carry = jax.tree.map(lambda h: np.asarray(h)[rows], c.carry)
        return of_rows(c.params, carry, np.asarray(c.inputs)[:, rows])

    # The loss of half the examples is twice as large for each: δ doubles, g does not.
    halves = [grad(slice(0, 2)), grad(slice(2, 4))]
    mean = jax.tree.map(lambda a, b: np.add(a, b) / 2, *halves)
    assert_close(mean, grad(slice(0, 4)), RTOL, ATOL)


def _segments(params: Any) -> jax.Array:
    """Two segments of the sequence in a scan of their own."""

    def segment(carry: Any, inputs: Any) -> Any:
        carry, y = ltd.unroll(simple, params, carry, inputs, flow_weight=1.0)
        return carry, loss_of(carry, y)

    halves = CASE.inputs.reshape(2, T // 2, B, -1)
    return jnp.sum(jax.lax.scan(segment, CASE.carry, halves)[1])


WRAPPED = {
    "scan": _segments,
    "scan and remat": jax.checkpoint(_segments),
    "scan and jit": jax.jit(_segments),
    "cond": lambda p: jax.lax.cond(p["b"][0] > 9, lambda p: 0.0, _segments, p),
}


SCALES = np.asarray([1, 0.5])


@cache
def _of_segments() -> list[Any]:
    """The gradient with the parameters at each scale, alone."""
    one = jax.jit(lambda s, p: jax.grad(_segments)({k: s * v for k, v in p.items()}))
    return [one(scale, CASE.params) for scale in SCALES]


# The condition holds a plain scan, and the remat a call within, as the jit does.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("scan", marks=pytest.mark.slow),
        "scan and remat",
        pytest.param("scan and jit", marks=pytest.mark.slow),
        "cond",
    ],
)
def test_inside_other_loops_and_under_vmap(name: str):
    grad = jax.grad(WRAPPED[name])
    stacked = jax.tree.map(lambda x: np.multiply.outer(SCALES, x), CASE.params)
    found = jax.tree.map(np.asarray, jax.jit(jax.vmap(grad))(stacked))
    for i, alone in enumerate(_of_segments()):
        assert_close({k: v[i] for k, v in found.items()}, alone, RTOL, ATOL)


FORWARD: dict[str, Callable[..., Any]] = {
    "jvp": lambda f, x, v: jax.jvp(f, (x,), (v,))[1],
    "linearize": lambda f, x, v: jax.linearize(f, x)[1](v),
    "jacfwd": lambda f, x, v: jax.jacfwd(f)(x),
}
SECOND: dict[str, Callable[..., Any]] = {
    "hessian": lambda f, x, v: jax.hessian(f)(x),
    "forward over reverse": lambda f, x, v: jax.jvp(jax.grad(f), (x,), (v,))[1],
    "reverse over reverse": lambda f, x, v: jax.grad(
        lambda x: jnp.vdot(jax.grad(f)(x), v)
    )(x),
}


ON: dict[str, dict[str, Any]] = {
    "number": {"flow_weight": 1.0},
    "traced zero": {"flow_weight": jnp.float32(0)},
    "record alone": {"flow_weight": 0, "flow_record": ltd.FlowRecord.zeros((T, B))},
    "clip alone": {"carry_clip": ltd.clip_carry_gradient(1.0)},
}


@pytest.mark.parametrize(
    ("on", "derivative", "jit"),
    [(on, how, True) for on in ON for how in [*FORWARD, *SECOND]]
    + [("number", how, False) for how in FORWARD]
    + [pytest.param("number", how, False, marks=pytest.mark.slow) for how in SECOND],
)
def test_with_the_penalty_on_they_say_why_not(on: str, derivative: str, jit: bool):
    x, unravel = jax.flatten_util.ravel_pytree(CASE.params)
    take = {**FORWARD, **SECOND}[derivative]
    args = (CASE.carry, CASE.inputs)
    loss = lambda x: flow_loss(CASE, loss_of, unravel(x), *args, **ON[on])
    run = lambda: take(loss, x, x)
    with pytest.raises(NotImplementedError, match=r"while Ω is on\. Set flow_weight=0"):
        jax.jit(run)() if jit else run()


def test_forward_mode_beside_the_layer_is_free():
    """A tangent that does not enter the layer meets no guard."""

    def loss(scale: Any) -> Any:
        return scale * _loss(CASE.params)

    out, tangent = jax.jvp(loss, (2.0,), (1.0,))
    assert float(out) == pytest.approx(2 * float(tangent), rel=1e-6)


def test_reverse_mode_by_rows():
    """`jax.jacrev` maps the backward pass over cotangents, with Ω for each of them."""

    def pair(p: Any) -> Any:
        final, y = ltd.unroll(simple, p, CASE.carry, CASE.inputs, flow_weight=1.0)
        return jnp.sum(y[-1]), jnp.sum(final**2)

    rows = jax.jit(jax.jacrev(pair))(CASE.params)
    one = jax.jit(jax.grad(lambda p, weights: jnp.dot(jnp.stack(pair(p)), weights)))
    first, second = (one(CASE.params, weights) for weights in np.eye(2))
    assert_close(rows, (first, second), RTOL, ATOL)


@pytest.mark.parametrize("name", ["lstm", "aside"])
def test_blocks_of_time_steps_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    """On a CPU large batches are taken in blocks of steps; here the cache is tiny."""
    c = case(name)

    def grads() -> Any:
        def loss(params: Any, carry: Any, inputs: Any, record: Any) -> Any:
            options: Any = {"flow_weight": 1.0, "flow_record": record}
            return flow_loss(c, loss_of, params, carry, inputs, **options)

        args = (c.params, c.carry, c.inputs, ltd.FlowRecord.zeros((T, B)))
        return jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*args)

    whole = grads()
    monkeypatch.setattr(time_blocks, "_CACHE_BYTES", 1)
    monkeypatch.setattr(time_blocks, "_SUMS_PER_BLOCK", 0)
    assert_close(grads(), whole, RTOL, ATOL)


@pytest.mark.parametrize("steps", [1, 2, 7, 12])
@pytest.mark.parametrize("cache", [1, 30, 80, 10**6])
def test_a_sum_over_steps_in_blocks(
    steps: int, cache: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(time_blocks, "_CACHE_BYTES", cache)
    monkeypatch.setattr(time_blocks, "_SUMS_PER_BLOCK", 0)
    x = {"a": np.arange(1.0, steps + 1), "b": np.ones((steps, 2, 1))}

    @jax.jit
    def run(x: Any) -> Any:
        return time_blocks.in_blocks(
            lambda x: ({"all": jnp.sum(x["a"]), "b": jnp.sum(x["b"], 0)}, 2 * x["a"]), x
        )

    summed, mapped = run(x)
    assert float(summed["all"]) == steps * (steps + 1) / 2
    np.testing.assert_array_equal(summed["b"], np.full((2, 1), steps))
    np.testing.assert_array_equal(mapped, 2 * x["a"])


OUTSIDE = {
    "inputs": lambda a: (CASE.params, CASE.inputs * a, "all"),
    "parameters without Ω": lambda a: (
        {**CASE.params, "U": CASE.params["U"] * a},
        CASE.inputs,
        "recurrent",
    ),
}


@pytest.mark.parametrize("where", OUTSIDE)
def test_a_derivative_of_a_derivative_by_another_path_is_none(where: str):
    """It is refused, rather than zero, where Ω does not act on what it is taken in."""

    def inner(a: Any) -> Any:
        params, inputs, chosen = OUTSIDE[where](a)

        def loss(w: Any) -> Any:
            p = {**params, "W": w}
            options = {"flow_weight": 1.0, "flow_params": chosen}
            return flow_loss(CASE, loss_of, p, CASE.carry, inputs, **options)

        return jax.value_and_grad(loss)(params["W"])[0]

    with pytest.raises(NotImplementedError, match="while Ω is on"):
        jax.jit(jax.grad(inner))(1.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("weight", {}),
        ("weight", {"remat": True, "flow_reduction": "mean"}),
        ("clip", {"flow_weight": 1.0}),
        ("key", {"flow_weight": 1.0, "flow_fraction": 0.5}),
    ],
    ids=str,
)
def test_the_gradient_of_members_that_share_their_outputs(
    name: str, options: Any
) -> None:
    """That of their sum, though no output depends on what differs."""
    c = case("simple")
    arguments: Any = {
        "weight": lambda v: {"flow_weight": v},
        "clip": lambda v: {"carry_clip": ltd.clip_carry_gradient(v)},
        "key": lambda v: {"flow_key": v},
    }
    each = jax.random.split(jax.random.key(0)) if name == "key" else np.array([0.1, 2])
    each = jnp.asarray(each)

    def loss(params: Any, value: Any) -> jax.Array:
        given = arguments[name](value)
        _, y = ltd.unroll(c.cell, params, c.carry, c.inputs, **given, **options)
        return jnp.sum(jnp.square(jax.tree.leaves(y)[0]))

    def of_all(params: Any) -> jax.Array:
        return jnp.sum(jax.vmap(loss, (None, 0))(params, each))

    grad = jax.jit(jax.grad(loss))
    alone = [grad(c.params, value) for value in each]
    expected = jax.tree.map(jnp.add, *alone)
    assert np.any(jax.tree.leaves(minus(*alone))[0])
    assert_close(jax.jit(jax.grad(of_all))(c.params), expected, 1e-4, 1e-4)
