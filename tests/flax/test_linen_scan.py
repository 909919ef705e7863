"""`ltd.linen.scan` is `nn.scan`, and its gradient that of `ltd.unroll`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import optax_ltd as ltd
from tests.flax.linen_models import (
    ATOL,
    KEYS,
    RTOL,
    B,
    CountingCell,
    DropoutCell,
    F,
    H,
    OwnCell,
    SowingCell,
    T,
    drawn,
    pure,
)
from tests.recurrent.oracles import assert_close, assert_equal

SHARE: dict[str, Any] = {
    "variable_broadcast": "params",
    "split_rngs": {"params": False},
}
ON: dict[str, Any] = {"flow_weight": 2.0}
_rng = np.random.default_rng(0)
X: Any = np.float32(_rng.standard_normal((T, B, F)))
BEGINS: Any = _rng.random((T, B)) < 0.3
START: Any = np.float32(_rng.standard_normal((B, H)))


def agent(scan: Any, **options: Any) -> Any:
    """A decorated class, whose body begins anew where it is told to."""

    class Agent(nn.Module):
        flow_weight: Any = 2.0

        @functools.partial(scan, **SHARE, **options)
        @nn.compact
        def __call__(self, carry: Any, x: Any) -> Any:
            x, begins = x
            h = jnp.where(begins[:, None], 0.0, carry)
            return OwnCell()(h, x)

    return Agent


def ends(module: Any) -> Any:
    """A loss that reads the first and the last step."""

    def loss(variables: Any, *args: Any) -> Any:
        _, y = module.apply(variables, *args)
        return jnp.sum(jnp.sin(y[jnp.array([0, -1])]))

    return loss


def test_a_decorated_method_is_that_of_flax_and_of_unroll():
    x = X, BEGINS
    # A step that counts has a share in the mean, though its gain of 0 has no slope.
    mean: Any = {"flow_reduction": "mean"}
    resets: Any = {"resets": lambda x: x[1], **mean}
    theirs, off = (agent(scan)() for scan in (nn.scan, ltd.linen.scan))
    on = agent(ltd.linen.scan, **resets, **ON)()
    by_field = agent(
        ltd.linen.scan, flow_weight=lambda self: self.flow_weight, **resets
    )

    def cell(params: Any, h: Any, x: Any) -> Any:
        x, begins = x
        h = jnp.where(begins[:, None], 0.0, h)
        return pure(OwnCell())(params["OwnCell_0"], h, x)

    def by_unroll(variables: Any, start: Any, x: Any) -> Any:
        params = variables["params"]
        _, y = ltd.unroll(cell, params, start, x, mask=~BEGINS, **mean, **ON)
        return jnp.sum(jnp.sin(y[jnp.array([0, -1])]))

    @jax.jit
    def everything(weight: jax.Array) -> Any:
        variables = theirs.init(KEYS, START, x)
        gradient = lambda loss: jax.value_and_grad(loss)(variables, START, x)
        scheduled = by_field(flow_weight=weight)
        return (
            (variables, off.init(KEYS, START, x), on.init(KEYS, START, x)),
            (theirs.apply(variables, START, x), on.apply(variables, START, x)),
            (gradient(ends(theirs)), gradient(ends(off))),
            [gradient(loss) for loss in (by_unroll, ends(on), ends(scheduled))],
        )

    made, outputs, without, with_flow = everything(jnp.float32(2.0))
    assert_equal(made[0], made[1])
    assert_equal(made[0], made[2])
    assert_close(outputs[0], outputs[1], RTOL, ATOL)
    assert_close(without[0], without[1], RTOL, ATOL)
    assert_close(with_flow[0], with_flow[1], RTOL, ATOL)
    assert_close(with_flow[0], with_flow[2], RTOL, ATOL)


class Classes(nn.Module):
    """Scanned classes, named by Flax; time is the second axis, and runs backwards."""

    scan: Any
    options: Any = ()

    @nn.compact
    def __call__(self, carry: Any, x: Any) -> Any:
        axes = {"in_axes": 1, "out_axes": -2, "reverse": True}
        given = {**SHARE, **axes, **dict(self.options)}
        carry, y = self.scan(nn.SimpleCell, **given)(H)(carry, x)
        partial = functools.partial(nn.SimpleCell, H)
        return self.scan(partial, methods=["__call__"], **given)()(carry, y)


def test_a_class_has_the_name_and_the_axes_that_it_has_in_flax():
    x, start = np.swapaxes(X, 0, 1), START
    theirs, off = Classes(nn.scan), Classes(ltd.linen.scan)
    on = Classes(ltd.linen.scan, ON)

    @jax.jit
    def everything(x: jax.Array) -> Any:
        variables = theirs.init(KEYS, start, x)
        assert list(variables["params"]) == ["ScanSimpleCell_0", "ScanSimpleCell_1"]
        return (variables, on.init(KEYS, start, x)), [
            (m.apply(variables, start, x), jax.grad(ends(m))(variables, start, x))
            for m in (theirs, off)
        ] + [(on.apply(variables, start, x), None)]

    made, (expected, found, with_flow) = everything(x)
    assert_equal(made[0], made[1])
    assert_close(expected, found, RTOL, ATOL)
    assert_close(expected[0], with_flow[0], RTOL, ATOL)


class Functions(nn.Module):
    """A scanned function of a cell: several inputs, some for all steps, trees out."""

    scan: Any
    options: Any = ()

    @nn.compact
    def __call__(self, carry: Any, x: Any, scale: Any) -> Any:
        def body(cell: Any, carry: Any, x: Any, begins: Any, shared: Any) -> Any:
            scale, word = shared
            assert word == "static"
            h, y = cell(jnp.where(begins[:, None], 0.0, carry), x * scale)
            return h, {"y": y, "nothing": None, "x": x.T}

        scan = self.scan(
            body,
            in_axes=(0, 1, nn.broadcast),
            out_axes={"y": 0, "nothing": 0, "x": 1},
            **SHARE,
            **dict(self.options),
        )
        return scan(OwnCell(name="cell"), carry, x, BEGINS.T, (scale, "static"))


def test_a_function_takes_inputs_of_every_kind():
    theirs, off = Functions(nn.scan), Functions(ltd.linen.scan)
    told = {"resets": lambda x, begins, shared: begins}
    on = Functions(ltd.linen.scan, told | ON)
    scale = jnp.linspace(0.5, 1.0, F)

    def loss(m: Any, variables: Any, scale: Any) -> Any:
        _, y = m.apply(variables, START, X, scale)
        return jnp.sum(y["y"][-1] ** 2), y["x"]

    def by_unroll(variables: Any, scale: Any) -> Any:
        def cell(params: Any, h: Any, at: Any) -> Any:
            x, begins = at
            return pure(OwnCell())(params, jnp.where(begins[:, None], 0.0, h), x)

        params, x = variables["params"]["cell"], (X * scale, BEGINS)
        _, y = ltd.unroll(cell, params, START, x, mask=~BEGINS, **ON)
        return jnp.sum(y[-1] ** 2), jnp.moveaxis(X, (0, 1, 2), (1, 2, 0))

    @jax.jit
    def everything(scale: jax.Array) -> Any:
        variables = theirs.init(KEYS, START, X, scale)
        losses = [functools.partial(loss, m) for m in (theirs, off, on)] + [by_unroll]
        return [jax.grad(f, (0, 1), has_aux=True)(variables, scale) for f in losses]

    expected, found, on_found, on_expected = everything(scale)
    assert_close(expected, found, RTOL, ATOL)
    assert_close(on_expected, on_found, RTOL, ATOL)
    # The input that all steps share has the gradient of the loss alone.
    assert_close(on_found[0][1], expected[0][1], RTOL, ATOL)


class Runs(nn.Module):
    """A scanned class by itself, with what a cell draws, counts or sows."""

    scan: Any
    cell: Any
    given: Any = ()

    @nn.compact
    def __call__(self, carry: Any, x: Any) -> Any:
        return self.scan(self.cell, **dict(self.given))()(carry, x)


@pytest.mark.parametrize("reverse", [False, True])
def test_streams_and_state_are_those_of_flax(reverse: bool):
    splits = {"params": False, "dropout": True}
    given = {"variable_broadcast": "params", "variable_carry": "batch_stats"}
    given |= {"split_rngs": splits, "reverse": reverse}

    def run(scan: Any, cell: Any, **options: Any) -> Any:
        model = Runs(scan, cell, given | options)
        made = cell().init(KEYS, START, X[0])
        variables = {kind: {f"Scan{cell.__name__}_0": v} for kind, v in made.items()}
        return model.apply(variables, START, X, rngs=KEYS, mutable=["batch_stats"])

    @jax.jit
    def everything() -> Any:
        cells = DropoutCell, CountingCell
        return [
            [run(nn.scan, c), run(ltd.linen.scan, c), run(ltd.linen.scan, c, **ON)]
            for c in cells
        ]

    for expected, *found in everything():
        for one in found:
            assert_close(expected, one, RTOL, ATOL)


class Rollout(nn.Module):
    """One example without inputs."""

    given: Any

    @nn.compact
    def __call__(self, h: jax.Array) -> Any:
        def body(module: Any, h: Any) -> Any:
            h = jnp.tanh(nn.Dense(H, use_bias=False, name="h")(h))
            return h, h

        return ltd.linen.scan(body, length=T, **SHARE, **dict(self.given))(self, h)


def test_one_example_without_inputs():
    variables = drawn(Rollout({"num_batch_dims": 0}), START[0])

    def by_unroll(variables: Any, start: Any) -> Any:
        cell = lambda w, h, _: (jnp.tanh(h @ w["params"]["h"]["kernel"]),) * 2
        given = {"length": T, "num_batch_dims": 0}
        _, y = ltd.unroll(cell, variables, start, **given, **ON)
        return jnp.sum(jnp.sin(y[jnp.array([0, -1])]))

    model = Rollout({"num_batch_dims": 0, **ON})
    both = lambda *args: [jax.grad(f)(*args) for f in (ends(model), by_unroll)]
    found, expected = jax.jit(both)(variables, START[0])
    assert_close(found, expected, RTOL, ATOL)
    message = "`num_batch_dims` must be given where shapes do not tell"
    with pytest.raises(ValueError, match=message):
        Rollout(ON).apply(variables, START[0])
    off: Any = Rollout(())
    _, y = jax.eval_shape(off.apply, variables, START[0])
    assert y.shape == (T, H)
    with pytest.raises(ValueError, match=message):
        ltd.linen.gradient_flow(ends(off), variables, START[0])


class Stack(nn.Module):
    weight: float

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for name in ("first", "second"):
            made = agent(ltd.linen.scan, flow_weight=self.weight, resets=lambda x: x[1])
            y = made(name=name)(START, x)[1]
            x = y, x[1]
        return x[0]


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_reports_are_by_the_path_of_the_module(weight: float):
    x = X, BEGINS
    model = Stack(weight)
    variables = drawn(model, x)

    def loss(variables: Any, x: Any) -> Any:
        return jnp.sum(jnp.asarray(model.apply(variables, x))[-1] ** 2)

    report = ltd.linen.gradient_flow(loss, variables, x)
    assert list(report.layers) == ["first", "second"]
    for flow in report.layers.values():
        np.testing.assert_array_equal(flow.cut, BEGINS)
        active = np.asarray(flow.active)
        assert not np.any(active & BEGINS)
        assert np.all(np.asarray(flow.gains)[active] > 0)

    @jax.jit
    def both(variables: Any) -> Any:
        (value, _), grads = ltd.linen.value_and_grad(loss)(variables, x)
        return (value, grads), jax.value_and_grad(loss)(variables, x)

    found, expected = both(variables)
    assert_close(found, expected, RTOL, ATOL)


def test_steps_that_share_no_parameters_are_left_to_flax():
    sows = {"variable_axes": {"intermediates": 0}, **SHARE}
    made = lambda: [
        Runs(scan, SowingCell, sows).init_with_output(KEYS, START, X)
        for scan in (ltd.linen.scan, nn.scan)
    ]
    found, expected = jax.jit(made)()
    assert_equal(found, expected)
    apply = functools.partial(
        Runs(ltd.linen.scan, SowingCell, sows).apply, mutable=["intermediates"]
    )
    _, sown = jax.eval_shape(apply, found[1], START, X)
    (seen,) = sown["intermediates"]["ScanSowingCell_0"]["seen"]
    assert seen.shape == (T, B, H)
    on = Runs(ltd.linen.scan, SowingCell, sows | ON)
    with pytest.raises(ValueError, match=r"`variable_axes` must be \{\} for Ω"):
        on.apply(found[1], START, X)
    constant = {"out_axes": nn.broadcast, **SHARE, **ON}
    with pytest.raises(ValueError, match=r"`out_axes` must be without nn\.broadcast"):
        Runs(ltd.linen.scan, OwnCell, constant).apply(found[1], START, X)


def test_bad_arguments():
    scan: Any = ltd.linen.scan
    refused = {
        "flow_weight": (-1.0, "a finite number >= 0"),
        "num_batch_dims": (-1, "an int >= 0"),
        "methods": ({"__call__": {}}, "None or a sequence of names"),
    }
    for name, (value, required) in refused.items():
        with pytest.raises(ValueError, match=f"`{name}` must be {required}.*; got "):
            scan(OwnCell, **{name: value})
    with pytest.raises(TypeError, match=r"`flow_weight` must be .* around a class"):
        scan(OwnCell, flow_weight=lambda module: 1.0)
    with pytest.raises(TypeError, match="flow_wieght"):
        scan(OwnCell, flow_wieght=1.0)
    floats = agent(scan, resets=lambda x: 1.0 * x[1], **ON)()
    x = X, BEGINS
    with pytest.raises(ValueError, match="`resets` must be"):
        floats.apply(drawn(floats, START, x), START, x)
