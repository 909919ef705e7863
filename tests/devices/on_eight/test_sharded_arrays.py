"""Transformations of sharded arrays under ``jit``, on every shape of mesh."""

import contextlib
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_ltd as ltd
from tests.devices import gradients

MESHES: dict[str, Any] = {
    "8": ((8,), {"matrix": P("x"), "tall": P("x"), "bias": P()}),
    "4x2": ((4, 2), {"matrix": P("x", "y"), "tall": P("x"), "bias": P("y")}),
    "2x4": ((2, 4), {"matrix": P("y", "x"), "tall": P(None, "y"), "bias": P()}),
}
SLOW = pytest.param("2x4", marks=pytest.mark.slow)
CASES = ["8", "4x2", SLOW, "2x4 explicit"]


@functools.cache
def together(case: str) -> Any:
    shape, specs = MESHES[case.removesuffix(" explicit")]
    kind = AxisType.Explicit if case.endswith("explicit") else AxisType.Auto
    mesh = gradients.mesh_of(shape, kind)
    params = gradients.laid_out(gradients.ones(), mesh, specs)
    stacked = gradients.laid_out(gradients.gradients(), mesh, specs, lead=1)
    explicit = kind == AxisType.Explicit
    with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
        return jax.jit(gradients.run)(stacked, params)


@pytest.mark.parametrize("case", CASES)
def test_every_mesh_gives_the_update_of_one_device(case: str):
    """The random steps too: they do not depend on the mesh."""
    gradients.assert_close(together(case), gradients.alone())


@pytest.mark.parametrize("case", CASES)
def test_a_random_step_is_the_same_on_replicas_and_differs_on_shards(case: str):
    updates, _ = together(case)["clip_or_random_step"]
    for leaf in updates.values():
        parts: dict[Any, set[bytes]] = {}
        for shard in leaf.addressable_shards:
            step = np.asarray(shard.data)[3]
            parts.setdefault(str(shard.index), set()).add(step.tobytes())
        assert all(len(replicas) == 1 for replicas in parts.values())
        assert len(set.union(*parts.values())) == len(parts)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("spec", [P("x"), P(None, "x"), P("x", "y")], ids=str)
def test_examples_and_their_gradients_may_be_divided(spec: P, kind: AxisType):
    mesh = gradients.mesh_of((4, 2), kind)
    sizes = np.geomspace(0.01, 10, 16, dtype=np.float32)
    examples = {
        "matrix": sizes[:, None, None] * np.sin(np.arange(8.0 * 4)).reshape(8, 4),
        "bias": sizes[:, None] * np.cos(np.arange(8.0)),
    }
    examples = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), examples)
    examples["count"] = jnp.arange(16 * 4).reshape(16, 4)
    tx: Any = ltd.clip_per_example(2.0)
    divided = gradients.laid_out(examples, mesh, dict.fromkeys(examples, spec))
    explicit = kind == AxisType.Explicit
    with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
        found = jax.jit(tx.update)(divided, tx.init(None))
    assert 0 < found[1].record.recent_clips[-1] < 1
    gradients.assert_close(found, jax.jit(tx.update)(examples, tx.init(None)))


def test_a_parameter_without_a_derivative_beside_divided_examples():
    mesh = gradients.mesh_of((8,), AxisType.Explicit)
    tx: Any = ltd.clip_per_example(1.0)

    @jax.jit
    def step(params: Any, examples: Any) -> Any:
        def loss(params: Any, example: Any) -> Any:
            return params["power"] * params["weight"] @ example

        gradient = jax.grad(loss, allow_int=True)
        gradients = jax.vmap(gradient, (None, 0))(params, examples)
        update, _ = tx.update(gradients, tx.init(params), params)
        assert update["power"].dtype == jax.dtypes.float0
        return update["weight"]

    with jax.set_mesh(mesh):
        params = {"power": jnp.int32(2), "weight": jnp.ones(4)}
        update = step(params, jax.device_put(jnp.ones((16, 4)), P("x")))
    np.testing.assert_allclose(update, 0.5, rtol=1e-6)


def test_a_step_is_skipped_whose_moments_take_the_layout_of_the_gradient():
    """On an explicit mesh, with parameters that are the same on every device."""
    mesh = gradients.mesh_of((8,), AxisType.Explicit)
    tx: Any = ltd.skip_steps(optax.adam(0.1))
    with jax.set_mesh(mesh):
        params, update = jnp.ones((8, 4)), jax.jit(tx.update)
        gradient, state = jax.device_put(params, P("x")), tx.init(params)
        for factor in (jnp.nan, 1.0, jnp.nan):
            updates, state = update(factor * gradient, state, params)
            moments = state.inner_state[0].mu
            assert jax.typeof(updates).sharding.spec == P("x", None)
            assert jax.typeof(moments).sharding.spec == P("x", None)
            np.testing.assert_allclose(updates, -0.1 if factor == 1 else 0, rtol=1e-5)
    np.testing.assert_allclose(moments, 0.1, rtol=1e-6)


@pytest.mark.parametrize("spec", [P("x"), P(None, "x")], ids=str)
@pytest.mark.parametrize("direction", ["signs", "sphere"])
def test_devices_exchange_a_few_scalars(spec: P, direction: Any):
    """No parameter is gathered, nor the bits of a random step."""
    mesh = gradients.mesh_of((8,))
    tx = optax.chain(
        ltd.clip_or_random_step(1.0, key=0, direction=direction), optax.adam(1e-3)
    )
    layout = NamedSharding(mesh, spec)
    params = [
        jax.ShapeDtypeStruct((512, 256), jnp.float32, sharding=layout),
        jax.ShapeDtypeStruct((512, 256), jnp.float32, sharding=layout),
        jax.ShapeDtypeStruct((256, 768), jnp.float32, sharding=layout),
    ]

    @jax.jit
    def step(gradient: Any, state: Any, params: Any) -> Any:
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    compiled = step.lower(params, jax.eval_shape(tx.init, params), params).compile()
    exchanged, held = _results(compiled.as_text())
    assert exchanged
    assert max(exchanged) <= 64
    entries = 2 * 512 * 256 + 256 * 768
    share = 32 if direction == "signs" else 1
    assert 0 < max(held) <= 4 * entries // 8 // share + 64


def _results(program: str | None) -> tuple[list[int], list[int]]:
    """Bytes of the results of collectives and of conditions, on one device."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    found: tuple[list[int], list[int]] = ([], [])
    for line in (program or "").splitlines():
        match = re.search(rf"= (.*?) ({kinds}|conditional)(-start)?\(", line)
        if match:
            types = re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", match[1])
            size = sum(
                int(bits) // 8 * int(np.prod([int(n) for n in dims.split(",") if n]))
                for bits, dims in types
            )
            found[match[2] == "conditional"].append(size)
    return found
