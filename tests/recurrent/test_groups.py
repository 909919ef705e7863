"""Groups of carry leaves: gains, Ω and a record of each, by the names of the user."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import Case, simple
from tests.recurrent.oracles import (
    VARIANTS,
    Frozen,
    assert_close,
    flow_loss,
    frozen,
    minus,
    omega,
    plain_loss,
)
from tests.slow import slow_but

T, B, F, H = 6, 3, 2, 4
WEIGHT = 1.7
RTOL, ATOL = 1e-9, 1e-12  # float64; the gradient of the loss is taken off again
_rng = np.random.default_rng(5)
MASK: Any = _rng.random((T, B)) < 0.8
RESETS: Any = _rng.random((T, B)) < 0.2
GROUPS: Any = {"pair": "memory", "slow": "context"}


@pytest.fixture(autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _normal(*shape: int) -> Any:
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape) * 0.5


@jax.custom_vjp
def _tanh(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


_tanh.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, ct: (ct * (1 - y * y),))


def pair(p: Any, carry: Any, x: Any) -> Any:
    """A carry of two leaves, like that of an LSTM, which costs less to compile."""
    c, h = carry
    c = 0.6 * c + jnp.sin(x @ p["U"] + p["b"] + h @ p["W"])
    h = jnp.tanh(c) * jnp.cos(h)
    return (c, h), h


def coupled(p: Any, carry: Any, x: Any, tanh: Any = jnp.tanh) -> Any:
    """A pair and a slow state, each of which reads the other's."""
    s = carry["slow"]
    new, h = pair({**p, "b": p["b"] + s @ p["Q"]}, carry["pair"], x)
    s = tanh(0.7 * s + h @ p["P"])
    return {"pair": new, "slow": s}, h


def reads_memory(final: Any, outputs: Any) -> jax.Array:
    """No error signal reaches the slow state after the last step."""
    return (jnp.sum(jnp.sin(outputs)) + jnp.sum(final["pair"][0] ** 2)) / B


@cache
def _case() -> Case:
    params = {
        "U": _normal(F, H),
        "W": _normal(H, H),
        "b": _normal(H),
        "Q": _normal(5, H),
        "P": _normal(H, 5),
    }
    carry = {"pair": (_normal(B, H), 2 * _normal(B, H)), "slow": _normal(B, 5)}
    return Case(
        coupled, lambda carry, y: carry["pair"][1], params, carry, _normal(T, B, F)
    )


def _omegas(params: Any, c: Case, held: Frozen) -> tuple[jax.Array, Any]:
    """Σ of the groups' Ω for all variants, and (gain, active, Ω's) of each group."""

    def passed_on(carry: Any, x: Any, error: Any) -> Any:
        return jax.vjp(lambda h: c.cell(params, h, x)[0], carry)[1](error)[0]

    def size(leaves: Any) -> jax.Array:
        total = sum(jnp.sum(x**2, -1) for x in jax.tree.leaves(leaves))
        return jnp.sqrt(jnp.where(total > 0, total, 1))

    u, seen = jax.vmap(passed_on)(*held), {}
    for leaves, name in GROUPS.items():
        started = jnp.any(jax.tree.leaves(held.errors[leaves])[0] != 0, axis=-1)
        gains = size(u[leaves]) / size(held.errors[leaves])
        active = started & MASK
        # `omega` divides by the number of examples or of active terms.
        values = jnp.stack([omega(gains, *each, active) for each in VARIANTS])
        seen[name] = (gains, active, values)
    return jnp.sum(jnp.stack([values for *_, values in seen.values()]), 0), seen


@cache
def _expected() -> tuple[Any, Any, Any]:
    """The gradient of the loss, those of Ω in all variants, and what is recorded."""
    c = _case()

    @jax.jit
    def run(params: Any) -> Any:
        loss = lambda p: plain_loss(c, reads_memory, p, c.carry, c.inputs)
        held = frozen(c, reads_memory)
        of_omega = jax.jacrev(lambda p: _omegas(p, c, held), has_aux=True)
        return jax.grad(loss)(params), *of_omega(params)

    return run(c.params)


CALLS: list[tuple[int, dict[str, Any]]] = [
    (0, {}),
    (1, {"remat": True}),
    (2, {"flow_params": "recurrent"}),
    (3, {"cell": lambda *args: coupled(*args, tanh=_tanh)}),
    (3, {"remat": True}),
]


@pytest.mark.parametrize(("variant", "options"), slow_but(CALLS[1:4], CALLS))
def test_gradient_and_records_are_those_of_the_formula(variant: int, options: Any):
    c = _case()
    form, reduction = VARIANTS[variant]
    options = dict(options)
    c = c._replace(cell=options.pop("cell", c.cell))

    def loss(params: Any, records: Any) -> jax.Array:
        return flow_loss(
            c,
            reads_memory,
            params,
            c.carry,
            c.inputs,
            mask=MASK,
            flow_weight=WEIGHT,
            flow_form=form,
            flow_reduction=reduction,
            flow_groups=GROUPS,
            flow_record=records,
            **options,
        )

    zeros = {name: ltd.FlowRecord.zeros((T, B)) for name in GROUPS.values()}
    grads, records = jax.jit(jax.grad(loss, (0, 1)))(c.params, zeros)
    plain, expected, seen = _expected()
    of_omega = jax.tree.map(lambda g: WEIGHT * np.asarray(g)[variant], expected)
    if options.get("flow_params") == "recurrent":
        of_omega |= {k: np.zeros_like(of_omega[k]) for k in ("U", "b")}
    assert_close(minus(grads, plain), of_omega, RTOL, ATOL)
    for name, (gains, active, values) in seen.items():
        shown = np.where(active, gains, 0)
        np.testing.assert_array_equal(records[name].active, active)
        np.testing.assert_allclose(records[name].gains, shown, rtol=1e-6)
        np.testing.assert_allclose(records[name].omega, values[variant], rtol=1e-6)


def test_one_name_for_all_leaves_is_no_group():
    c = _case()
    names = ("all", {"pair": ("all", "all"), "slow": "all"})

    def program(flow_groups: Any) -> str:
        options: Any = {"flow_weight": 1.0, "flow_groups": flow_groups}
        loss = lambda p: flow_loss(c, reads_memory, p, c.carry, c.inputs, **options)
        return jax.jit(jax.grad(loss)).lower(c.params).as_text()

    assert program(None) == program(names[0]) == program(names[1])
    assert program(None) != program(GROUPS)


PARAMS: Any = (
    {"U": _normal(F, H), "W": _normal(H, H), "b": _normal(H)},
    {"U": _normal(F, H), "W": -_normal(H, H), "b": -_normal(H)},
)
STARTS: Any = (_normal(B, H), (_normal(B, H), -_normal(B, H)))
INPUTS: Any = _normal(T, B, F)
CELLS = (simple, pair)
NAMES = ("left", "right")


def both(params: Any, carry: Any, x: Any) -> Any:
    """Two nets that do not know each other, and a counter that belongs to one."""
    first, (second, count) = carry
    one, y = simple(params[0], first, x)
    two, z = pair(params[1], second, x)
    return (one, (two, count + 1)), (y, z)


def read(outputs: jax.Array, scale: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(3 * outputs[-1])) * scale.astype(outputs.dtype)


def programs(dtype: Any, **options: Any) -> Any:
    """Both nets in one scan with groups, and each in a scan of its own.

    Functions of a factor for each loss.
    """
    as_dtype = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)
    params, starts, inputs = map(as_dtype, (PARAMS, STARTS, INPUTS))
    records = dict.fromkeys(NAMES, ltd.FlowRecord.zeros((T, B)))
    fresh = options.pop("reset_carry", (None, (None, None)))

    def together(params: Any, records: Any, scales: Any) -> jax.Array:
        _, outputs = ltd.unroll(
            both,
            params,
            (starts[0], (starts[1], jnp.zeros(B, int))),
            inputs,
            flow_weight=1.0,
            flow_groups=NAMES,
            flow_record=records,
            reset_carry=fresh if "resets" in options else None,
            **options,
        )
        return sum(map(read, outputs, scales), jnp.zeros((), dtype))

    def alone(params: Any, records: Any, scales: Any) -> jax.Array:
        total = jnp.zeros((), dtype)
        of_nets = zip(CELLS, params, starts, (fresh[0], fresh[1][0]), strict=True)
        for i, (cell, p, start, begin) in enumerate(of_nets):
            _, outputs = ltd.unroll(
                cell,
                p,
                start,
                inputs,
                flow_weight=1.0,
                flow_record=records[NAMES[i]],
                reset_carry=begin,
                **options,
            )
            total += read(outputs, scales[i])
        return total

    @jax.jit
    def gradients(scales: jax.Array) -> Any:
        return [
            jax.grad(loss, (0, 1))(params, records, scales)
            for loss in (together, alone)
        ]

    return lambda *scales: gradients(np.array(scales))


in_float32 = cache(lambda: programs(np.float32))


SAMPLED_MEAN = {"flow_fraction": 0.5, "flow_reduction": "mean", "mask": MASK}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(SAMPLED_MEAN, marks=pytest.mark.slow),
        pytest.param(SAMPLED_MEAN | {"remat": True}, marks=pytest.mark.slow),
        {
            "resets": RESETS,
            "reset_carry": (0.1, ((0.2, 0.3), 0)),
            "carry_clip": ltd.clip_carry_gradient(max_value=0.4),
            "truncate": 4,
        },
    ],
    ids=["sampled mean", "sampled mean in segments", "cut and clipped"],
)
def test_two_nets_in_one_scan_are_the_two_alone(options: Any):
    key = jax.random.key(3) if "flow_fraction" in options else None
    run = programs(np.float64, **options, flow_key=key)
    (grads, records), (expected, apart) = run(1.0, 0.3)
    assert_close(grads, expected, RTOL, ATOL)
    for name, record in records.items():
        # A bound acts on all leaves together, so what it changed is of all groups.
        clipped = np.maximum(*(each.clipped for each in apart.values()))
        assert_close(record, apart[name]._replace(clipped=clipped), 1e-6, 1e-12)


def test_a_group_whose_signal_is_far_smaller():
    """Ω does not know how long δ is, in one group as in all leaves together."""
    (grads, records), (expected, apart) = in_float32()(1.0, 1e-33)
    assert jnp.max(jnp.abs(grads[1]["W"])) > 1e-3
    assert_close(grads, expected, 1e-4, 1e-6)
    for name, record in records.items():
        assert_close(record.gains, apart[name].gains, 1e-5, 1e-6)


def test_a_group_that_overflows_leaves_the_other_alone():
    (grads, records), (expected, apart) = in_float32()(1.0, np.inf)
    assert_close(grads[0], expected[0], 1e-4, 1e-6)
    assert_close(records["left"], apart["left"], 1e-5, 1e-6)
    assert not np.any(records["right"].active)


def test_a_group_that_does_not_count_has_a_part_in_one_that_does():
    """δ_a passes on more than a float holds, and yet what b gets of it is finite."""

    def cell(p: Any, carry: Any, x: Any) -> Any:
        a, b = carry
        return (1e30 * a + p["v"] * b, p["w"] * b + x), None

    def loss(p: Any) -> jax.Array:
        zeros = jnp.zeros((1, 1), jnp.float32)
        options: Any = {"flow_weight": 1.0, "flow_groups": ("a", "b")}
        (a, b), _ = ltd.unroll(cell, p, (zeros, zeros), zeros[None], **options)
        return 1e10 * jnp.sum(a + b)

    p = {"v": jnp.float32(0.5), "w": jnp.float32(2.0)}
    # g_b = v + w, so that both derivatives of (g_b - 1)² are 2 (g_b - 1).
    assert_close(jax.jit(jax.grad(loss))(p), {"v": 3.0, "w": 3.0}, 1e-6)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (("left",), "be a prefix of `carry`, PyTreeDef"),
        (("left", "right", "more"), "be a prefix of `carry`, PyTreeDef"),
        ({"left": "left"}, "be a prefix of `carry`, PyTreeDef"),
        (("left", ("right", "count")), "have a floating leaf of `carry` in each group"),
        (("left", 1), "be None or a tree of strings"),
        (("left", None), "be a prefix of `carry`, PyTreeDef"),
    ],
)
def test_names_that_do_not_fit(bad: Any, message: str):
    start = (STARTS[0], (STARTS[1], jnp.zeros(B, int)))
    options: Any = {"flow_weight": 1.0, "flow_groups": bad}
    got = "none in 'count'" if "count" in str(bad) else repr(bad)
    expected = f"`flow_groups` must {message}.*; got {re.escape(got)}"
    with pytest.raises(ValueError, match=expected):
        ltd.unroll(both, PARAMS, start, INPUTS, **options)


@pytest.mark.parametrize("names", [None, NAMES])
def test_records_that_do_not_fit(names: Any):
    zeros = ltd.FlowRecord.zeros((T, B))
    bad = {"left": zeros} if names is None else zeros
    start = (STARTS[0], (STARTS[1], jnp.zeros(B, int)))
    options: Any = {"flow_groups": names, "flow_record": bad}
    message = r"`flow_record` must be (a dict of )?FlowRecord\.zeros\(\(6, 3\)\).*; got"
    with pytest.raises(ValueError, match=message):
        ltd.unroll(both, PARAMS, start, INPUTS, **options)
