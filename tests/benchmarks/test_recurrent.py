"""Benchmarks measure what they say: the same step, and Ω by every way to write it."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks import timing
from benchmarks.recurrent import loops, product_counts
from benchmarks.recurrent.contestants import flow_in_the_loss, training_steps
from benchmarks.recurrent.settings import (
    NAIVE,
    NNX,
    NNX_4,
    NNX_16,
    NNX_HALF,
    OFF,
    ON,
    ON_HALF,
    QUARTER,
    VMAPPED,
    Setting,
)
from tests.benchmarks import compilation

SMALL = Setting("SimpleCell", 6, 3, 4, 2)


@pytest.fixture(scope="module")
def carries() -> dict[str, tuple[Any, Any]]:
    """Parameters and state before and after one step of every contestant."""
    x = training_steps.sample(SMALL)
    makers = training_steps.training_steps(SMALL)
    del makers[NNX_HALF]  # `nnx.RNN` refuses a carry whose dtype changes.
    steps = {name: make() for name, make in makers.items()}
    with compilation.quick():
        return {
            name: (step.carry, jax.jit(step.function)(step.carry, x))
            for name, step in steps.items()
        }


def _updated(carries: dict[str, tuple[Any, Any]], name: str) -> np.ndarray:
    leaves = jax.tree.leaves(carries[name][1][0])
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


@pytest.fixture(scope="module", autouse=True)
def large_steps():
    """Large enough to show the gradient in single precision."""
    usual, training_steps.STEP_SIZE = training_steps.STEP_SIZE, 1.0
    yield
    training_steps.STEP_SIZE = usual


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other"), [(NNX, OFF), (NNX_4, NNX), (NNX_16, NNX), (ON, VMAPPED)]
)
def test_contestants_do_the_same(carries, one, other):
    np.testing.assert_allclose(
        _updated(carries, one), _updated(carries, other), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other"), [(ON, OFF), (QUARTER, ON), (QUARTER, OFF), (NAIVE, ON)]
)
def test_contestants_that_differ_do(carries, one, other):
    assert np.max(np.abs(_updated(carries, one) - _updated(carries, other))) > 1e-3


@pytest.mark.slow
def test_half_precision_is_close_and_keeps_the_parameters(carries):
    half, single = _updated(carries, ON_HALF), _updated(carries, ON)
    assert half.dtype == np.float32
    assert 1e-4 < np.max(np.abs(half - single)) < 0.2
    np.testing.assert_allclose(half, single, atol=0.2)


def test_every_contestant_learns(carries):
    for (before, _), (after, _) in carries.values():
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        assert all(np.max(np.abs(a - b)) > 1e-4 for a, b in pairs)


@pytest.mark.slow
def test_both_ways_to_write_the_penalty_give_its_value():
    cell = nnx.SimpleCell(SMALL.inputs, SMALL.hidden, rngs=nnx.Rngs(0))
    x = training_steps.sample(SMALL)
    held, through = (
        jax.jit(loss)(params, x)
        for loss, params in (
            flow_in_the_loss.loss_with(way, cell, training_steps.last_step_loss)
            for way in (
                flow_in_the_loss.error_signals_held,
                flow_in_the_loss.through_back_propagation,
            )
        )
    )
    np.testing.assert_allclose(held, through, rtol=1e-5)


def test_the_sampled_steps_are_drawn_anew(carries):
    """What is drawn must be no constant, which XLA would compute when compiling."""

    def draws(name: str) -> int:
        counts = [
            sum(int(n) for n in jax.tree.leaves(state) if n.dtype == jnp.uint32)
            for _, state in carries[name]
        ]
        return counts[1] - counts[0]

    assert draws(QUARTER) == draws(ON) + 1


@pytest.mark.parametrize("cell", ["SimpleCell", "GRUCell", "OptimizedLSTMCell"])
def test_recurrent_products_alone_give_the_known_ratios(cell):
    setting = Setting(cell, 10, 4, 8, inputs=0)
    for name, expected in ((OFF, 1), (ON, 5 / 3), (QUARTER, 3.5 / 3), (NAIVE, 2)):
        assert product_counts.floor(name, NNX, setting) == pytest.approx(expected)


def _flops(jaxpr: Any) -> int:
    """Of all matrix products, those of a loop as often as it turns."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            left = equation.invars[0].aval.shape
            (summed, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(left[i] for i in summed)
            total += 2 * math.prod(equation.outvars[0].aval.shape) * inner
        turns = equation.params.get("length", 1)
        parts = jax.tree.leaves(list(equation.params.values()))
        inside = [getattr(part, "jaxpr", part) for part in parts]
        total += turns * sum(_flops(j) for j in inside if hasattr(j, "eqns"))
    return total


@pytest.mark.parametrize("cell", ["SimpleCell", "GRUCell", "OptimizedLSTMCell"])
@pytest.mark.parametrize("name", [NNX, NAIVE])
def test_products_are_those_of_the_traced_program(cell, name):
    setting = Setting(cell, 10, 3, 4, 2)
    step = training_steps.training_steps(setting)[name]()
    traced = jax.make_jaxpr(step.function)(step.carry, training_steps.sample(setting))
    assert _flops(traced.jaxpr) == product_counts.flops(name, setting)


def test_products_of_the_input_count_twice():
    setting = Setting("SimpleCell", 10, 4, 8, 8)
    assert product_counts.flops(OFF, setting) == 2 * 10 * 4 * 8 * (3 * 8 + 2 * 8)
    assert product_counts.floor(ON, NNX, setting) == pytest.approx(7 / 5)


def test_the_penalty_adds_no_loop_over_time():
    time = 1000  # enough for a CPU to take the added work in blocks
    setting = Setting("SimpleCell", time, 20, 50, 6)
    makers = training_steps.training_steps(setting)
    x = jax.ShapeDtypeStruct((20, time, 6), jnp.float32)
    counts = {}
    for name in (OFF, ON):
        step = makers[name]()
        program = jax.jit(step.function).lower(step.carry, x).compile().as_text()
        counts[name] = loops.trip_counts(program or "")
    if jax.default_backend() != "cpu":
        # Nothing is taken in blocks there, and a turn may be many steps.
        assert len(counts[ON]) == len(counts[OFF])
        return
    assert counts[ON][2:]
    for turns in counts.values():
        assert turns[:2] == [time, time]
        assert all(n is not None and n < time / 10 for n in turns[2:])


def test_turns_take_no_fixed_order_and_lose_none():
    order = []

    def entrant(name: str) -> timing.Contestant:
        return timing.Contestant(lambda carry: order.append(name) or carry, ())

    seconds = timing.interleave({n: entrant(n) for n in "abc"}, rounds=8, warmup=1)
    assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys(
        "abc", 8
    )
    rounds = [tuple(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    followers = {pair for turn in rounds for pair in itertools.pairwise(turn)}
    assert {("a", "b"), ("b", "a")} <= followers
