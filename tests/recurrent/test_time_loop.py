"""`unroll=None`: steps in a turn by platform and cell, and what a turn contains."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import io_callback

import optax_ltd as ltd
from optax_ltd._recurrent.cell.program import trace_cell
from optax_ltd._recurrent.loop.time_loop import steps_on_gpu
from tests.recurrent.cells import T, case, gru, loss_of, lstm, simple
from tests.recurrent.oracles import assert_close
from tests.recurrent.platforms import take_steps_as_on_gpu

RTOL, ATOL = 1e-5, 1e-6  # float32
LONG = 64
OFF, ON = 0.0, 1.0


def _last(name: str, weight: float, **options: Any) -> tuple[Any, Any]:
    """The gradient of a loss at the last of many steps, and its argument."""
    c = case(name)
    x = jnp.sin(jnp.arange(LONG * c.inputs[0].size, dtype=jnp.float32))
    x = x.reshape(LONG, *c.inputs.shape[1:])

    def loss(params: Any) -> jax.Array:
        _, y = ltd.unroll(c.cell, params, c.carry, x, flow_weight=weight, **options)
        return jnp.sum(y[-1] ** 2)

    return jax.grad(loss), c.params


def _turns(program: str) -> list[int]:
    """How often each loop turns, from StableHLO."""
    bound = r"cond \{\s*%\S+ = stablehlo.constant dense<(\d+)>"
    return [int(turns) for turns in re.findall(bound, program)]


@pytest.mark.parametrize("weight", [OFF, ON])
def test_the_platform_that_is_lowered_for_decides(weight: float):
    gradient, params = _last("simple", weight)
    traced = jax.jit(gradient).trace(params)

    def turns(platform: str) -> list[int]:
        return _turns(traced.lower(lowering_platforms=(platform,)).as_text())

    assert turns("cpu") == turns("tpu") == [LONG, LONG]
    assert turns("cuda") == turns("rocm") == [LONG // 16, LONG // 16]


def test_a_number_is_obeyed():
    gradient, params = _last("simple", ON, unroll=2)
    lowered = jax.jit(gradient).trace(params).lower(lowering_platforms=("cuda",))
    assert _turns(lowered.as_text()) == [LONG // 2, LONG // 2]


def _square(w: Any, h: Any, x: Any) -> Any:
    h = jnp.tanh(h @ w)
    return h, h


@pytest.mark.parametrize(
    ("cell", "length", "expected"),
    [
        (simple, 1000, 10),  # the largest divisor in reach
        (simple, 997, 12),  # no divisor: one step is left over
        (simple, 3, 3),
        (simple, 1, 1),
        (simple, 0, 1),
        (gru, 400, 4),
        (lstm, 400, 5),
    ],
)
def test_by_the_size_of_the_cell(cell: Any, length: int, expected: int):
    c = case(cell.__name__)
    program = trace_cell(cell, c.params, c.carry, c.inputs[0])
    assert steps_on_gpu(program, length) == expected


@pytest.mark.parametrize("cell", [_square, jax.checkpoint(_square)])
@pytest.mark.parametrize(("units", "expected"), [(512, 16), (4096, 1)])
def test_by_the_size_of_its_products(units: int, expected: int, cell: Any):
    w, h = (jax.ShapeDtypeStruct((n, units), jnp.float32) for n in (units, 64))
    assert steps_on_gpu(trace_cell(cell, w, h, None), 400) == expected


@pytest.mark.parametrize("weight", [OFF, ON])
def test_a_program_may_leave_the_batch_open(weight: float):
    c = case("simple")
    (batch,) = jax.export.symbolic_shape("batch")

    def loss(params: Any, carry: Any, inputs: Any) -> jax.Array:
        return loss_of(*ltd.unroll(c.cell, params, carry, inputs, flow_weight=weight))

    def shaped(x: Any, axis: int) -> jax.ShapeDtypeStruct:
        shape = (*x.shape[:axis], batch, *x.shape[axis + 1 :])
        return jax.ShapeDtypeStruct(shape, x.dtype)

    carry = jax.tree.map(lambda h: shaped(h, 0), c.carry)
    gradient = jax.jit(jax.grad(loss))
    exported = jax.export.export(gradient, platforms=["cpu", "cuda"])(
        c.params, carry, shaped(c.inputs, 1)
    )
    found = exported.call(c.params, c.carry, c.inputs)
    assert_close(found, gradient(c.params, c.carry, c.inputs), RTOL, ATOL)


@pytest.mark.parametrize("weight", [OFF, ON])
def test_a_cell_with_effects_is_mapped(weight: float):
    c, seen = case("simple"), []

    def cell(params: Any, carry: Any, x: Any) -> Any:
        io_callback(lambda n: seen.append(n), None, jnp.sum(x))
        return c.cell(params, carry, x)

    def final(x: Any) -> Any:
        return ltd.unroll(cell, c.params, c.carry, x, flow_weight=weight)[0]

    jax.block_until_ready(jax.jit(jax.vmap(final))(jnp.stack([c.inputs] * 2)))
    jax.effects_barrier()
    assert len(seen) == 2 * T


def _gradient(weight: float, params: Any, **options: Any) -> Any:
    c = case("simple")

    def loss(params: Any, carry: Any, inputs: Any) -> jax.Array:
        given = {"flow_weight": weight, **options}
        return loss_of(*ltd.unroll(c.cell, params, carry, inputs, **given))

    return jax.grad(loss, (0, 1, 2))(params, c.carry, c.inputs)


def _hessian(params: Any, **options: Any) -> Any:
    c = case("simple")
    run = partial(ltd.unroll, c.cell, **options)
    return jax.hessian(lambda b: loss_of(*run(params | {"b": b}, c.carry, c.inputs)))(
        params["b"]
    )


HOWS: dict[str, Callable[..., Any]] = {
    "off": partial(_gradient, OFF),
    "on": partial(_gradient, ON),
    "on, remat": partial(_gradient, ON, remat=True),
    "on, vmap": lambda params, **options: jax.vmap(
        lambda s: _gradient(ON, jax.tree.map(lambda p: s * p, params), **options)
    )(jnp.asarray([0.5, 1.0])),
    "off, checkpoint": lambda params, **options: jax.checkpoint(
        lambda p: _gradient(OFF, p, **options)
    )(params),
    "off, hessian": _hessian,
}


@pytest.mark.parametrize("how", HOWS)
def test_numbers_are_those_of_one_step_in_a_turn(
    how: str, monkeypatch: pytest.MonkeyPatch
):
    run, params = HOWS[how], case("simple").params
    expected = jax.jit(partial(run, unroll=1))(params)
    take_steps_as_on_gpu(monkeypatch, steps=4)
    assert T % 4
    traced = jax.jit(run).trace(params)
    assert "branches_platforms" in str(traced.jaxpr)
    assert_close(traced.lower().compile()(params), expected, RTOL, ATOL)


_NO_KERNELS = ("get-tuple-element", "constant", "parameter", "bitcast", "tuple")


def _kernels(name: str, weight: float, **options: Any) -> list[int]:
    """How many kernels each loop over time runs in a turn, on a CPU."""
    gradient, params = _last(name, weight, **options)
    program = jax.jit(gradient).lower(params).compile().as_text() or ""
    computations = re.findall(r"^%(\S+) \(.*\{\n((?:.*\n)*?)\}", program, re.MULTILINE)
    bodies = [dict(computations)[b] for b in re.findall(r"body=%(\S+?),", program)]
    operation = re.compile(r"^ .* ([a-z-]+)\(%", re.MULTILINE)
    return [sum(o not in _NO_KERNELS for o in operation.findall(b)) for b in bodies]


@pytest.mark.parametrize("name", ["simple", "gru"])
def test_without_the_penalty_no_loop_has_more_kernels(name: str):
    off, on = _kernels(name, OFF), _kernels(name, ON)
    assert len(off) == len(on) == 2
    assert all(0 < n <= m for n, m in zip(off, on, strict=True))


def test_the_program_for_a_cpu_is_that_of_one_step_in_a_turn():
    assert _kernels("simple", ON) == _kernels("simple", ON, unroll=1)
