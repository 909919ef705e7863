"""``unroll`` inside ``jax.shard_map``, whose arrays know over which axes they vary."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import optax_ltd as ltd
from optax_ltd._recurrent.loop import time_blocks
from tests.recurrent.cells import case, loss_of
from tests.recurrent.oracles import assert_equal, flow_loss


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flow_weight": 1.0},
        {"flow_weight": 1.0, "flow_reduction": "mean", "remat": True},
    ],
    ids=["omega off", "omega on", "mean and remat"],
)
def test_the_gradient_of_a_sharded_batch(
    options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_blocks, "_CACHE_BYTES", 256)
    monkeypatch.setattr(time_blocks, "_SUMS_PER_BLOCK", 0)
    c = case("simple")
    everywhere, batch = PartitionSpec(), PartitionSpec("data")

    def loss(params: Any, carry: Any, inputs: Any) -> jax.Array:
        return flow_loss(c, loss_of, params, carry, inputs, **options)

    def mean_of_shards(*args: Any) -> jax.Array:
        return jax.lax.pmean(loss(*args), "data")

    sharded = jax.shard_map(
        mean_of_shards,
        mesh=jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,)),
        in_specs=(everywhere, batch, PartitionSpec(None, "data")),
        out_specs=everywhere,
    )
    args = (c.params, c.carry, c.inputs)
    found, expected = (jax.jit(jax.grad(f))(*args) for f in (sharded, loss))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_a_first_carry_that_is_the_same_everywhere() -> None:
    c = case("lstm")
    start = jax.tree.map(jnp.zeros_like, c.carry)

    def run(inputs: Any) -> Any:
        return ltd.unroll(c.cell, c.params, start, inputs, flow_weight=1.0)[1]

    batch = PartitionSpec(None, "data")
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.shard_map(run, mesh=mesh, in_specs=batch, out_specs=batch)
    assert_equal(jax.jit(sharded)(c.inputs), jax.jit(run)(c.inputs))
