"""δ_t is the total derivative at the carry: what the loss reads of it, and whence."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import (
    B,
    Case,
    T,
    case,
    final_carry,
    last_output,
    simple,
)
from tests.recurrent.oracles import (
    Loss,
    assert_close,
    flow_loss,
    frozen,
    gains_by_vjp,
)

RTOL = 1e-5  # float32


def record_of(c: Case, loss: Loss, **options: Any) -> ltd.FlowRecord:
    def run(record: ltd.FlowRecord) -> Any:
        args = (c.params, c.carry, c.inputs)
        return flow_loss(c, loss, *args, flow_record=record, **options)

    return jax.jit(jax.grad(run))(ltd.FlowRecord.zeros(c.inputs.shape[:2]))


@cache
def _of_simple() -> ltd.FlowRecord:
    return record_of(case("simple"), last_output)


# Against `loss_of` all cells are held in `test_penalty_gradient`.
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("simple", final_carry),
        ("lstm", last_output),
        ("both", last_output),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("simple", last_output),
                ("lstm", final_carry),
                ("both", final_carry),
            )
        ),
    ],
)
def test_is_the_total_derivative(name: str, loss: Loss):
    c = case(name)
    held, gains = jax.jit(
        lambda: (held := frozen(c, loss), gains_by_vjp(c, c.params, held))
    )()
    squares = [np.sum(np.square(x), -1) for x in jax.tree.leaves(held.errors)]
    record = record_of(c, loss)
    assert_close(record.error_norms, np.sqrt(sum(squares)), RTOL)
    assert_close(record.gains, gains, RTOL)
    assert np.all(record.error_norms > 0)


def test_an_output_beside_the_carry_is_no_part_of_its_own_step():
    record = record_of(case("aside"), last_output)
    active, norms = np.asarray(record.active), np.asarray(record.error_norms)
    np.testing.assert_array_equal(active[-1], 0)
    np.testing.assert_array_equal(norms[-1], 0)
    np.testing.assert_array_equal(active[:-1], 1)


def _behind_jit(p: Any, h: Any, x: Any) -> Any:
    return jax.jit(simple)(p, h, x)


def _behind_checkpoint(p: Any, h: Any, x: Any) -> Any:
    h = jax.checkpoint(lambda p, h, x: simple(p, h, x)[0])(p, h, x)
    return h, h


def _pair_behind_checkpoint(p: Any, h: Any, x: Any) -> Any:
    return jax.checkpoint(jax.jit(simple))(p, h, x)


def _pair_behind_cond(p: Any, h: Any, x: Any) -> Any:
    return jax.lax.cond(jnp.all(x < jnp.inf), jax.jit(simple), _idle, p, h, x)


def _idle(p: Any, h: Any, x: Any) -> Any:
    del p, x
    return h, h


def _behind_casts(p: Any, h: Any, x: Any) -> Any:
    h, _ = simple(p, h, x)
    return h.astype(h.dtype), jnp.asarray(h)


def _twice(p: Any, h: Any, x: Any) -> Any:
    h, _ = simple(p, h, x)
    return h, {"first": h, "again": (h,)}


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(_behind_jit, marks=pytest.mark.slow),
        _behind_checkpoint,
        _pair_behind_checkpoint,
        _pair_behind_cond,
        _behind_casts,
    ],
)
def test_an_output_that_is_the_carry_is_seen(cell: Any):
    record = record_of(case("simple")._replace(cell=cell), last_output)
    assert_close(record, _of_simple(), RTOL)
    assert np.all(np.asarray(record.error_norms)[-1] > 0)


def test_all_readers_of_one_carry_add_up():
    once, twice = _of_simple(), record_of(case("simple")._replace(cell=_twice), _both)
    assert_close(twice.error_norms, 3 * np.asarray(once.error_norms), RTOL)
    assert_close(twice.gains, once.gains, RTOL)


def _both(final: Any, outputs: Any) -> Any:
    first, again = outputs["first"], outputs["again"][0]
    return last_output(final, first) + 2 * last_output(final, again)


def test_integer_carries_are_handed_on():
    """A counter in the carry has no part in δ, and no gradient."""
    c = case("simple")

    def counting(p: Any, carry: Any, x: Any) -> Any:
        h, n = carry
        h, y = simple(p, h, x * (n < 4)[:, None])
        return (h, n + 1), y

    def plain(p: Any, carry: Any, x: Any) -> Any:
        return simple(p, carry, x)

    inputs = np.where(np.arange(T)[:, None, None] < 4, c.inputs, 0)
    start = jnp.zeros(B, jnp.int32)
    found, expected = [], []
    for cell, carry, to in (
        (counting, (c.carry, start), found),
        (plain, c.carry, expected),
    ):

        def loss(p: Any, record: Any, cell: Any = cell, carry: Any = carry) -> Any:
            _, y = ltd.unroll(
                cell, p, carry, inputs, flow_weight=1.0, flow_record=record
            )
            return last_output((), y)

        zeros = ltd.FlowRecord.zeros((T, B))
        to.append(jax.jit(jax.grad(loss, (0, 1)))(c.params, zeros))
    assert_close(found, expected, RTOL, 1e-6)
    run = jax.jit(partial(ltd.unroll, counting))
    (_, n), _ = run(c.params, (c.carry, start), inputs)
    np.testing.assert_array_equal(n, T)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_python_numbers_in_carry_and_output(weight: float):
    """As `jax.lax.scan` takes them."""
    c = case("simple")

    def counting(p: Any, carry: Any, x: Any) -> Any:
        h, n = carry
        h, y = simple(p, h, x)
        return (h, n + 1), (y, 0.0)

    def loss(p: Any, cell: Any, carry: Any) -> Any:
        _, y = ltd.unroll(cell, p, carry, c.inputs, flow_weight=weight)
        return last_output((), y[0] if cell is counting else y)

    (_, n), (_, constant) = ltd.unroll(counting, c.params, (c.carry, 0), c.inputs)
    assert n == T
    assert constant.shape == (T,)
    found = jax.jit(jax.grad(lambda p: loss(p, counting, (c.carry, 0))))
    expected = jax.jit(jax.grad(lambda p: loss(p, simple, c.carry)))
    assert_close(found(c.params), expected(c.params), RTOL, 1e-5)
