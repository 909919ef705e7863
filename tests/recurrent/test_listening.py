"""`ltd.value_and_grad` and `gradient_flow` of losses that call `ltd.unroll`."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.recurrent.cells import B, H, T, case, final_carry, simple
from tests.recurrent.oracles import assert_close

RTOL, ATOL = 1e-5, 1e-6
CASE = case("simple")
OPTIONS: Any = {"flow_weight": 2.0, "num_batch_dims": 0}


def batched(params: Any, inputs: Any) -> jax.Array:
    out = ltd.unroll(simple, params, CASE.carry, inputs, flow_weight=2.0)
    return final_carry(*out)


def of_one(params: Any, carry: Any, x: Any) -> jax.Array:
    """The loss of one example."""
    h, _ = ltd.unroll(simple, params, carry, x, **OPTIONS)
    return jnp.sum(h**3 - h)


def over_examples(one: Callable[..., Any]) -> Callable[..., jax.Array]:
    def loss(params: Any, inputs: Any) -> jax.Array:
        return jnp.mean(jax.vmap(one, (None, 0, 1))(params, CASE.carry, inputs))

    return loss


@functools.cache
def recorded() -> ltd.LayerFlow:
    """What a record of zeros gives by hand."""

    def loss(record: ltd.FlowRecord) -> jax.Array:
        out = ltd.unroll(
            simple, CASE.params, CASE.carry, CASE.inputs, flow_record=record
        )
        return final_carry(*out)

    @jax.jit
    def report() -> ltd.LayerFlow:
        zeros = ltd.FlowRecord.zeros((T, B))
        return ltd.LayerFlow.from_record(jax.grad(loss)(zeros))

    return report()


def both(loss: Any) -> Any:
    """Loss, report and gradient, and beside them the plain gradient: one program."""
    run = lambda *args: (ltd.value_and_grad(loss)(*args), jax.grad(loss)(*args))
    ((_, flow), grads), expected = jax.jit(run)(CASE.params, CASE.inputs)
    return flow, grads, expected


def test_loss_gradient_and_report():
    """Here without ``jax.jit`` around it."""
    (loss, flow), grads = ltd.value_and_grad(batched)(CASE.params, CASE.inputs)
    # Nobody listens any more.
    expected = jax.jit(jax.value_and_grad(batched))(CASE.params, CASE.inputs)
    assert_close((loss, grads), expected, RTOL, ATOL)
    assert list(flow) == ["unroll_0"]
    assert_close(flow["unroll_0"], recorded(), RTOL, ATOL)
    report = ltd.gradient_flow(batched, CASE.params, CASE.inputs)
    assert_close(report.layers, flow, RTOL, ATOL)


@pytest.mark.parametrize("inside", [lambda f: f, jax.jit, jax.checkpoint])
def test_each_example_under_vmap(inside: Any):
    """The loss is a mean, so δ of an example is 1/B of that of `final_carry`'s."""
    loss = over_examples(inside(of_one))
    # An inner jit has been traced before.
    jax.eval_shape(jax.grad(loss), CASE.params, CASE.inputs)
    flow, grads, plain = both(loss)
    seen, expected = flow["unroll_0"], recorded()
    assert_close(seen.gains, expected.gains, RTOL)
    assert_close(seen.error_norms, expected.error_norms, RTOL)
    np.testing.assert_array_equal(seen.horizon(0.5), expected.horizon(0.5))
    assert_close(seen.omega, B * np.asarray(expected.omega), RTOL)
    assert_close(grads, plain, RTOL, ATOL)


def test_members_that_differ_in_their_mask_alone():
    masks = np.arange(T)[:, None] + np.zeros((2, 1, B)) >= [[[0]], [[2]]]

    def loss(params: Any, inputs: Any) -> jax.Array:
        def of_member(mask: Any) -> jax.Array:
            h, _ = ltd.unroll(simple, params, CASE.carry, inputs, mask=mask)
            return jnp.sum(h**2)

        return jnp.sum(jax.vmap(of_member)(masks))

    flow, grads, expected = both(loss)
    np.testing.assert_array_equal(flow["unroll_0"].active, np.swapaxes(masks, 0, 1))
    assert_close(grads, expected, RTOL, ATOL)


def test_members_that_differ_in_key_or_bound_alone():
    def loss(params: Any, inputs: Any) -> jax.Array:
        def of_member(key: jax.Array, bound: jax.Array) -> jax.Array:
            options: Any = {
                "flow_weight": 1.0,
                "flow_fraction": 0.5,
                "flow_key": key,
                "carry_clip": ltd.clip_carry_gradient(bound),
            }
            h, _ = ltd.unroll(simple, params, CASE.carry, inputs, **options)
            return jnp.sum(h**2)

        keys = jax.random.split(jax.random.key(0), 2)
        by_key = jax.vmap(lambda key: of_member(key, jnp.asarray(1.0)))(keys)
        by_bound = jax.vmap(lambda bound: of_member(keys[0], bound))(jnp.ones(2))
        return jnp.sum(by_key) + jnp.sum(by_bound)

    flow, grads, expected = both(loss)
    for name in ("unroll_0", "unroll_1"):
        assert flow[name].gains.shape == (T, 2, B)
    assert_close(grads, expected, RTOL, ATOL)


def test_vmap_in_vmap_and_over_what_a_cell_closes_over():
    weights = np.array([0.2, 1.5], np.float32)
    inputs = np.asarray(CASE.inputs)

    def of_member(weight: Any, params: Any, x: Any) -> jax.Array:
        cell = lambda _, h, x: simple(params | {"W": weight * params["W"]}, h, x)
        h, _ = ltd.unroll(cell, None, jnp.zeros(H), x, **OPTIONS)
        return jnp.sum(h**2)

    def loss(params: Any, inputs: Any) -> jax.Array:
        over = jax.vmap(jax.vmap(of_member, (None, None, 1)), (0, None, None))
        return jnp.sum(over(weights, params, inputs))

    report = ltd.gradient_flow(loss, CASE.params, inputs)
    gains = np.asarray(report.layers["unroll_0"].gains)
    assert gains.shape == (T, 2, B)
    for m, b in ((0, 1), (1, 2)):
        alone = lambda params, x, m=m: of_member(weights[m], params, x)
        one = ltd.gradient_flow(alone, CASE.params, inputs[:, b])
        assert_close(gains[:, m, b], one.layers["unroll_0"].gains, RTOL, ATOL)


def test_several_calls_and_aux_and_argnums():
    def loss(inputs: Any, params: Any, steps: Any) -> Any:
        first = batched(params, inputs)
        second = batched(params, inputs[:4])
        again = jax.jit(batched)
        return first + second + again(params, inputs), steps

    options: Any = {"argnums": (1, 0), "has_aux": True}

    @jax.jit
    def run(*args: Any) -> Any:
        found = ltd.value_and_grad(loss, **options)(*args)
        return found, jax.value_and_grad(loss, **options)(*args)

    found, expected = run(CASE.inputs, CASE.params, 3)
    (value, flow), grads = found
    assert_close((value, grads), expected, RTOL, ATOL)
    assert value[1] == 3
    lengths = {name: one.gains.shape for name, one in flow.items()}
    assert lengths == {"unroll_0": (T, B), "unroll_1": (4, B), "unroll_2": (T, B)}


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Module:
    """As a module of Equinox is: arrays, functions, numbers and names in one tree."""

    params: Any
    activation: Any
    steps: Any
    size: int
    name: str = dataclasses.field(metadata={"static": True}, default="rnn")

    def __call__(self, inputs: jax.Array) -> jax.Array:
        def cell(params: Any, h: Any, x: Any) -> Any:
            h = self.activation(x @ params["U"] + params["b"] + h @ params["W"])
            return h, h

        start = jnp.zeros((B, self.size))
        return ltd.unroll(cell, self.params, start, inputs, flow_weight=1.0)[0]


def test_a_module_of_another_library():
    module = Module(CASE.params, jnp.tanh, np.arange(3), H)
    loss = lambda module, x: jnp.sum(module(x) ** 2)

    def of_params(params: Any, x: Any) -> jax.Array:
        return loss(dataclasses.replace(module, params=params), x)

    @jax.jit
    def run(params: Any, x: Any) -> Any:
        given = dataclasses.replace(module, params=params)
        (value, flow), grads = ltd.value_and_grad(loss)(given, x)
        assert (grads.activation, grads.steps, grads.size) == (None, None, None)
        grad = ltd.value_and_grad(lambda m, x: loss(m, x), allow_int=True)
        _, with_integers = grad(given, x)
        assert with_integers.steps.dtype == jax.dtypes.float0
        return flow, (value, grads.params), jax.value_and_grad(of_params)(params, x)

    flow, found, expected = run(CASE.params, CASE.inputs)
    assert_close(found, expected, RTOL, ATOL)
    report = ltd.gradient_flow(loss, module, CASE.inputs)
    assert_close(report.layers, flow, RTOL, ATOL)


def _in_a_scan(params: Any, inputs: Any) -> jax.Array:
    def body(total: Any, factor: Any) -> Any:
        return total + batched(params, factor * inputs), None

    return jax.lax.scan(body, jnp.zeros(()), jnp.ones(2))[0]


def _at_two_places(params: Any, inputs: Any) -> jax.Array:
    one = jax.jit(of_one)
    return over_examples(one)(params, inputs) + one(params, CASE.carry[0], inputs[:, 0])


@jax.custom_vjp
def _with_a_rule_of_its_own(params: Any, inputs: Any) -> jax.Array:
    return batched(params, inputs)


_with_a_rule_of_its_own.defvjp(
    lambda *args: jax.vjp(batched, *args), lambda back, cotangent: back(cotangent)
)

REFUSED = {
    "in a custom VJP": (
        _with_a_rule_of_its_own,
        "got a call inside of custom_vjp_call",
    ),
    "in a loop": (_in_a_scan, "outside of loops .*; got a call inside of scan"),
    "in a loop over examples": (
        lambda p, x: jnp.sum(jax.lax.map(lambda f: batched(p, f * x), jnp.ones(2))),
        "outside of loops .*; got a call inside of scan",
    ),
    "at two places": (_at_two_places, r"under the same jax.vmap .*; got axes \(3,\)"),
    "nowhere": (lambda p, x: jnp.sum(p["W"]), "must call optax_ltd.unroll, .*neither"),
}


@pytest.mark.parametrize("where", REFUSED)
def test_calls_that_cannot_be_heard(where: str):
    loss, message = REFUSED[where]
    for report in (ltd.gradient_flow, lambda f, *args: ltd.value_and_grad(f)(*args)):
        with pytest.raises(ValueError, match=message):
            report(loss, CASE.params, CASE.inputs)


def test_another_number_of_calls_in_the_second_run():
    runs = []

    def loss(params: Any, inputs: Any) -> jax.Array:
        runs.append(None)
        return jnp.sum(jnp.stack([batched(params, inputs) for _ in runs]))

    with pytest.raises(ValueError, match="must make the same calls of `unroll`"):
        jax.eval_shape(ltd.value_and_grad(loss), CASE.params, CASE.inputs)
