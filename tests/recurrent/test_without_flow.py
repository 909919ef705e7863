"""With Ω off, `unroll` has every derivative that `jax.lax.scan` has, in float64."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from optax_ltd._recurrent.loop import time_blocks, without_flow
from tests.recurrent.cells import B, Case, H, T, case, loss_of, lstm
from tests.recurrent.oracles import assert_close

RTOL, ATOL = 1e-10, 1e-12  # float64
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _scan(cell: Any, params: Any, carry: Any, inputs: Any) -> Any:
    return jax.lax.scan(lambda c, x: cell(params, c, x), carry, inputs)


def _counting(p: Any, carry: Any, x: Any) -> Any:
    """An LSTM with a counter, a key, a side output and an array it closes over."""
    step, key, carry = carry
    (c, h), _ = lstm(p, carry, x)
    h = h / (1.0 + step)
    readout = jnp.sin(jnp.arange(H * 2.0)).reshape(H, 2)
    return (step + 1, key, (c, h)), {"h": h, "y": h @ readout, "step": step}


@cache
def _case(name: str) -> Case:
    if name != "counting":
        return case(name, np.float64)
    c = case("lstm", np.float64)
    return c._replace(
        cell=_counting, carry=(jnp.zeros((), int), jax.random.key(0), c.carry)
    )


def _floats(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]


def _flat(c: Case, run: Run) -> tuple[Any, Any]:
    """All that is floating in the results, as a function of all that is in the data."""
    leaves, tree = jax.tree.flatten((c.params, c.carry, c.inputs))
    start, unravel = jax.flatten_util.ravel_pytree(_floats(leaves))

    def function(vector: Any) -> Any:
        floats = iter(unravel(vector))
        data = [next(floats) if _floats([x]) else x for x in leaves]
        out = run(c.cell, *jax.tree.unflatten(tree, data))
        return jax.flatten_util.ravel_pytree(_floats(out))[0]

    return function, start


def _sum(f: Any) -> Any:
    return lambda x: jnp.sum(jnp.sin(f(x)) + f(x) ** 2)


def _ct(f: Any, x: Any) -> Any:
    return jnp.cos(jnp.arange(jax.eval_shape(f, x).size, dtype=x.dtype))


def _product(f: Any, x: Any, v: Any) -> Any:
    """A Gauss–Newton product: Jᵀ J v."""
    out, push = jax.linearize(f, x)
    del out
    return jax.linear_transpose(push, x)(push(v))


DERIVATIVES: dict[str, Callable[..., Any]] = {
    "value": lambda f, x, v: f(x),
    "jvp": lambda f, x, v: jax.jvp(f, (x,), (v,)),
    "vjp": lambda f, x, v: jax.vjp(f, x)[1](_ct(f, x)),
    "linearize and transpose": _product,
    "jacfwd": lambda f, x, v: jax.jacfwd(f)(x),
    "jacrev": lambda f, x, v: jax.jacrev(f)(x),
    "hessian": lambda f, x, v: jax.hessian(_sum(f))(x),
    "reverse over reverse": lambda f, x, v: jax.grad(
        lambda x: jnp.vdot(jax.grad(_sum(f))(x), v)
    )(x),
    "reverse over forward": lambda f, x, v: jax.grad(
        lambda x: jax.jvp(_sum(f), (x,), (v,))[1]
    )(x),
    "vmap of grad": lambda f, x, v: jax.vmap(jax.grad(_sum(f)))(jnp.stack([x, v])),
    "grad of vmap": lambda f, x, v: jax.grad(
        lambda both: jnp.sum(jax.vmap(_sum(f))(both))
    )(jnp.stack([x, v])),
    "grad of jit": lambda f, x, v: jax.grad(jax.jit(_sum(f)))(x),
    "remat": lambda f, x, v: jax.grad(jax.checkpoint(_sum(f)))(x),
}


# Everything else is a composition of these, and slow to compile.
_FAST = {
    "simple": (
        "value",
        "jvp",
        "linearize and transpose",
        "hessian",
        "reverse over reverse",
        "reverse over forward",
        "vmap of grad",
        "remat",
    ),
    "counting": ("jvp",),
}
_SLOW = {
    "simple": [how for how in DERIVATIVES if how not in _FAST["simple"]],
    "gru": ("jvp", "vjp"),
    "counting": ("vjp", "hessian"),
}


@pytest.mark.parametrize(
    ("name", "derivative"),
    [(name, how) for name, hows in _FAST.items() for how in hows]
    + [
        pytest.param(name, how, marks=pytest.mark.slow)
        for name, hows in _SLOW.items()
        for how in hows
    ],
)
def test_every_derivative_is_that_of_scan(name: str, derivative: str):
    c = _case(name)
    found, x = _flat(c, partial(ltd.unroll, flow_weight=0))
    expected, _ = _flat(c, _scan)
    take = DERIVATIVES[derivative]
    v = jnp.cos(jnp.arange(x.size, dtype=x.dtype))
    left, right = jax.jit(lambda: (take(found, x, v), take(expected, x, v)))()
    assert_close(left, right, RTOL, ATOL)
    assert max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(right)) > 0.1


def _grads(c: Case, run: Run, argnums: Any = (0, 1, 2), **options: Any) -> Any:
    def loss(params: Any, carry: Any, inputs: Any) -> Any:
        final, outputs = run(c.cell, params, carry, inputs, **options)
        floats = [*_floats(final), *_floats(outputs)]
        return sum(jnp.sum(jnp.sin(y) + 0.3 * y.real**2).real for y in floats)

    grad = jax.grad(loss, argnums, allow_int=True)
    found = jax.jit(grad)(c.params, c.carry, c.inputs)
    return _floats(found)


@cache
def _by_scan(name: str) -> Any:
    """The gradients in params, carry and inputs that are to be found."""
    return _grads(_case(name), _scan)


@pytest.mark.parametrize("argnums", [0, 1, 2])
def test_a_gradient_in_one_argument_alone(argnums: int):
    found = _grads(_case("counting"), ltd.unroll, argnums)
    part = (slice(0, 3), slice(3, 5), slice(5, 6))[argnums]
    assert_close(found, _by_scan("counting")[part], RTOL, ATOL)


@pytest.mark.parametrize("unroll", [2, True])
def test_unrolled_loops(unroll: Any):
    found = _grads(_case("gru"), ltd.unroll, unroll=unroll)
    assert_close(found, _by_scan("gru"), RTOL, ATOL)


@pytest.mark.parametrize("steps", [0, 1])
def test_short_sequences(steps: int):
    c = _case("counting")
    c = c._replace(inputs=c.inputs[:steps])
    assert_close(_grads(c, ltd.unroll), _grads(c, _scan), RTOL, ATOL)


def test_blocks_of_time_steps(monkeypatch: pytest.MonkeyPatch):
    c = _case("counting")
    blocks = []

    def block(length: int, *sizes: int) -> int:
        blocks.append((length, *sizes))
        return 4  # leaves a remainder

    monkeypatch.setattr(time_blocks, "_block", block)
    found = _grads(c, ltd.unroll, 0)
    assert_close(found, _by_scan("counting")[:3], RTOL, ATOL)
    params = sum(leaf.nbytes for leaf in jax.tree.leaves(c.params))
    (_, _, constants) = blocks[0]
    assert constants >= params


def _mixed(p: Any, h: Any, x: Any) -> Any:
    z = jnp.tanh(h @ p["W"].astype(h.dtype) + (x @ p["U"]).astype(h.dtype))
    return z, z.astype(jnp.float16)


def _complex(p: Any, h: Any, x: Any) -> Any:
    h = 0.5 * (h @ p["W"]) * jnp.exp(1j * p["b"]) / (1 + jnp.abs(h)) + (x @ p["U"])
    return h, jnp.abs(h)


def _with_integers(p: Any, h: Any, x: Any) -> Any:
    h = jnp.tanh(h @ p["W"] + p["table"][1] * p["b"] + x @ p["U"])
    return h, (h, p["table"])


def _wave(p: Any, h: Any, x: Any) -> Any:
    return h, jnp.sin(p * x)


def test_other_numbers():
    """Float16 beside float32, complex carries, integer parameters, no leaf at all."""
    c = case("simple", np.float32)
    mixed = c._replace(cell=_mixed)
    for x, y in zip(_grads(mixed, ltd.unroll), _grads(mixed, _scan), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    c = _case("simple")
    turned = c._replace(cell=_complex, carry=c.carry * (1 + 0.5j))
    assert_close(_grads(turned, ltd.unroll), _grads(turned, _scan), RTOL, ATOL)
    params = {**c.params, "table": jnp.arange(3), "none": None}
    counted = c._replace(cell=_with_integers, params=params)
    assert_close(_grads(counted, ltd.unroll), _grads(counted, _scan), RTOL, ATOL)
    empty = c._replace(cell=_wave, params=jnp.ones(()), carry=())
    found = _grads(empty, ltd.unroll, (0, 2))
    assert_close(found, _grads(empty, _scan, (0, 2)), RTOL, ATOL)


def test_a_linear_cell_is_transposed_as_a_scan_is():
    c = _case("simple")
    ct = jnp.cos(jnp.arange(T * B * H * 1.0)).reshape(T, B, H)

    def transposed(run: Run) -> Any:
        cell = lambda p, h, x: (h @ p["W"], h)
        outputs = lambda h: run(cell, c.params, h, c.inputs)[1]
        return jax.linear_transpose(outputs, c.carry)(ct)

    assert_close(transposed(ltd.unroll), transposed(_scan), RTOL, ATOL)


def _loops(run: Run) -> list[Any]:
    c = _case("gru")
    loss = lambda p: loss_of(*run(c.cell, p, c.carry, c.inputs))
    equations = jax.make_jaxpr(jax.grad(loss))(c.params).jaxpr.eqns
    return [e for e in equations if e.primitive.name == "scan"]


def _results(loops: list[Any]) -> list[Any]:
    return [v.aval.shape for e in loops for v in e.outvars]


def test_no_loop_adds_up_the_gradient_of_a_matrix():
    matrix = _case("gru").params["W"].shape
    assert matrix in _results(_loops(_scan))
    loops = _loops(partial(ltd.unroll, unroll=1))
    assert len(loops) == 2
    assert matrix not in _results(loops)


@jax.custom_vjp
def _spike(v: Any) -> Any:
    return (v > 0).astype(v.dtype)


_spike.defvjp(lambda v: (_spike(v), v), lambda v, ct: (ct / (1 + v * v),))


def _spiking(p: Any, h: Any, x: Any) -> Any:
    s = _spike(h @ p["W"] + x @ p["U"])
    return 0.9 * h + s, s


def _deep(p: Any, h: Any, x: Any) -> Any:
    h = jax.lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ p["W"] + x @ p["U"]), h)
    return h, h


@pytest.mark.parametrize("cell", [_spiking, _deep])
def test_a_cell_with_rules_or_loops_of_its_own_is_left_to_jax(cell: Any):
    c = _case("simple")._replace(cell=cell)

    def grad(run: Run) -> Any:
        def loss(p: Any) -> Any:
            seeds = jnp.arange(1.0, 3.0)
            one = lambda s: loss_of(*run(cell, p, s * c.carry, c.inputs))
            return jnp.sum(jax.vmap(one)(seeds))

        return jax.jit(jax.grad(loss))(c.params)

    assert_close(grad(ltd.unroll), grad(_scan), RTOL, ATOL)
    jaxpr = jax.make_jaxpr(cell)(c.params, c.carry, c.inputs[0])
    assert any(map(without_flow._opaque, jaxpr.jaxpr.eqns))


def test_effects_happen_once():
    seen = []

    def cell(p: Any, h: Any, x: Any) -> Any:
        jax.debug.callback(lambda h: seen.append(h), h[0, 0])
        h = jnp.tanh(h @ p["W"] + x @ p["U"])
        return h, h

    _grads(_case("simple")._replace(cell=cell), ltd.unroll)
    jax.effects_barrier()
    assert len(seen) == T
