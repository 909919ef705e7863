"""Hessian-free on a batch that is divided among eight devices."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_ltd as ltd
from tests.devices import gradients
from tests.slow import slow_but

X = np.random.default_rng(0).standard_normal((16, 3, 4)).astype(np.float32)
Y = X.sum((1, 2))
PARAMS = {"w": np.eye(4, dtype=np.float32) / 2, "v": np.full(4, 0.3, np.float32)}


def _in_a_scan(step: Any, carry: Any) -> Any:
    return jax.lax.scan(step, carry, None, 2)[0]


def _in_a_row(step: Any, carry: Any) -> Any:
    """A scan would want the first carry to vary as the last one does."""
    return step(step(carry, None)[0], None)[0]


def _step(
    params: Any,
    x: jax.Array,
    y: jax.Array,
    *,
    axis_name: str | None = None,
    loss_mean: Any = jnp.mean,
    mean: Any = jnp.mean,
    average: Any = lambda gradient: gradient,
    twice: Any = _in_a_scan,
) -> Any:
    """Two updates; `mean` is that of the loss whose gradient is taken."""
    # Few iterations, as the end of many hangs on the last digit.
    tx: Any = ltd.hessian_free(
        structural_damping=0.1, max_cg_iterations=5, axis_name=axis_name
    )

    def predict(params: Any) -> Any:
        hidden = [jnp.tanh(x[:, 0] @ params["w"])]
        for t in (1, 2):
            hidden.append(jnp.tanh(hidden[-1] @ params["w"] + x[:, t]))
        return hidden[-1] @ params["v"], jnp.stack(hidden, 1)

    loss = lambda z, mean=loss_mean: mean((z - y) ** 2)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        gradient = average(jax.grad(lambda p: loss(predict(p)[0], mean))(params))
        updates, state = tx.update(gradient, state, params, predict=predict, loss=loss)
        return (jax.tree.map(jnp.add, params, updates), state), None

    return twice(step, (params, tx.init(params)))


@functools.cache
def _alone() -> Any:
    return jax.device_get(jax.jit(_step)(PARAMS, X, Y))


def _assert_close(found: Any) -> None:
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(_alone()), strict=True):
        np.testing.assert_allclose(x, y, rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize(
    "kind", slow_but([AxisType.Auto], [AxisType.Auto, AxisType.Explicit]), ids=str
)
def test_a_divided_batch_gives_the_step_of_the_whole(kind: AxisType):
    mesh = gradients.mesh_of((8,), kind)
    x, y = (jax.device_put(a, NamedSharding(mesh, P("x"))) for a in (X, Y))
    params = jax.device_put(PARAMS, NamedSharding(mesh, P()))
    explicit = kind == AxisType.Explicit
    with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
        _assert_close(jax.jit(_step)(params, x, y))


_WHOLE = P()


def _shard_map(step: Any, *, check_vma: bool, out_specs: Any = _WHOLE) -> Any:
    mesh = gradients.mesh_of((8,), AxisType.Auto)
    specs = {"in_specs": (_WHOLE, P("x"), P("x")), "out_specs": out_specs}
    return jax.jit(jax.shard_map(step, mesh=mesh, check_vma=check_vma, **specs))


_mean_of_all = lambda x: jax.lax.pmean(jnp.mean(x), "x")
_average = lambda gradient: jax.lax.pmean(gradient, "x")


@pytest.mark.parametrize("axis_name", slow_but(["x"], ["x", None]))
def test_inside_shard_map(axis_name: str | None):
    """JAX adds up the parameters' cotangents by itself.

    Without a name the loss has to be the mean of all.
    """
    loss_mean = jnp.mean if axis_name else _mean_of_all
    step = functools.partial(
        _step, axis_name=axis_name, loss_mean=loss_mean, mean=_mean_of_all
    )
    _assert_close(_shard_map(step, check_vma=True)(PARAMS, X, Y))


@pytest.mark.slow
def test_inside_shard_map_with_parameters_that_are_marked_as_varying():
    """As `many_devices.md` has them, for a layer with Ω."""

    def step(params: Any, x: jax.Array, y: jax.Array) -> Any:
        marked = jax.lax.pcast(params, "x", to="varying")
        found = _step(marked, x, y, axis_name="x", average=_average, twice=_in_a_row)
        return jax.tree.map(lambda leaf: leaf[None], found)

    found = _shard_map(step, check_vma=True, out_specs=P("x"))(PARAMS, X, Y)
    for device in range(8):
        _assert_close(jax.tree.map(lambda leaf, i=device: leaf[i], found))


@pytest.mark.slow
def test_inside_shard_map_that_does_not_know_what_varies():
    step = functools.partial(_step, axis_name="x", average=_average)
    _assert_close(_shard_map(step, check_vma=False)(PARAMS, X, Y))


@pytest.mark.slow
def test_inside_pmap():
    step = functools.partial(_step, axis_name="x", average=_average)
    parts = [array.reshape(8, 2, *array.shape[1:]) for array in (X, Y)]
    found = jax.device_get(jax.pmap(step, "x", in_axes=(None, 0, 0))(PARAMS, *parts))
    for device in range(8):
        _assert_close(jax.tree.map(lambda leaf, i=device: leaf[i], found))
