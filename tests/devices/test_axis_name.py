"""What the name of an axis may be, and what it means under ``vmap``."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from tests.devices.gradients import CHOSEN
from tests.transforms.factories import VARIANTS


@pytest.mark.parametrize("bad", [3, ["x"], ("x", 1), True])
def test_a_bad_axis_name_is_refused(bad: Any):
    with pytest.raises(ValueError, match=r"`axis_name` must be .* got .*"):
        ltd.global_norm(jnp.ones(2), axis_name=bad)
    for name in (*CHOSEN, "clip_per_example"):
        variant = VARIANTS[name]
        with pytest.raises(ValueError, match="`axis_name` must be"):
            variant.factory(**variant.arguments, axis_name=bad)


@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30])
def test_vmap_measures_all_members_together(size: float):
    members = size * jnp.arange(1.0, 7.0).reshape(3, 2)
    tx: Any = ltd.clip_or_random_step(size, key=0, axis_name="members")

    def step(gradient: jax.Array) -> Any:
        return tx.update(gradient, tx.init(gradient))

    update = jax.jit(jax.vmap(step, axis_name="members"))
    clipped, state = update(members)
    np.testing.assert_allclose(clipped / size, members / size / 91**0.5, rtol=1e-6)
    np.testing.assert_allclose(state.record.norm / size, 91**0.5, rtol=1e-6)
    random, state = update(members.at[1, 1].set(jnp.inf))
    np.testing.assert_allclose(abs(random) / size, 6**-0.5, rtol=1e-6)
    assert len({np.asarray(part).tobytes() for part in random}) > 1
    assert (state.record.nonfinite_count == 1).all()
