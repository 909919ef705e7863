"""The third fallback of `nonfinite_random_step`: a multiple of the parameters."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.transforms.factories import loose

PARAMS = {
    "bias": jnp.array([1.0, 2.0]),
    "cell": {"kernel": jnp.array([[3.0]]), "recurrent": jnp.array([[4.0]])},
}
BAD = jax.tree.map(lambda leaf: leaf * jnp.nan, PARAMS)
ONLY_RECURRENT = {"bias": False, "cell": {"kernel": False, "recurrent": True}}


def _update(**options: Any) -> Any:
    tx = loose(ltd.nonfinite_random_step(1.0, fallback="shrink", **options))
    return tx.update(BAD, tx.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("mask", [ONLY_RECURRENT, lambda params: ONLY_RECURRENT])
def test_the_reference_shrinks_the_recurrent_matrix_alone(mask):
    update = _update(shrink_mask=mask)
    np.testing.assert_allclose(update["cell"]["recurrent"], 0.08)
    assert not update["bias"].any()
    assert not update["cell"]["kernel"].any()


def test_a_mask_may_be_a_prefix():
    update = _update(shrink_mask={"bias": False, "cell": True}, shrink_rate=0.5)
    np.testing.assert_allclose(update["cell"]["kernel"], 1.5)
    np.testing.assert_allclose(update["cell"]["recurrent"], 2)
    assert not update["bias"].any()


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Net:
    """Parameters, or flags, that can be called, as those of many libraries can."""

    bias: Any
    kernel: Any

    def __call__(self, x: Any) -> Any:
        return x @ self.kernel + self.bias


def test_a_tree_of_flags_that_can_be_called_is_a_mask():
    """As in `optax.masked`; and a function may come with arguments of its own."""
    params = Net(jnp.ones(2), jnp.ones((2, 2)))
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    for mask in (
        Net(True, False),
        lambda _: Net(True, False),
        jax.tree_util.Partial(lambda _: Net(True, False)),
    ):
        tx = loose(ltd.nonfinite_random_step(fallback="shrink", shrink_mask=mask))
        update, _ = tx.update(bad, tx.init(params), params)
        np.testing.assert_allclose(update.bias, 0.02)
        assert not update.kernel.any()


def test_descent_brings_the_weights_closer_to_zero():
    guard = ltd.nonfinite_random_step(1.0, fallback="shrink")
    tx = loose(optax.chain(guard, optax.sgd(1.0)))
    update, _ = tx.update(BAD, tx.init(PARAMS), PARAMS)
    after = PARAMS["bias"] + update["bias"]
    np.testing.assert_allclose(after, 0.98 * PARAMS["bias"], rtol=1e-6)


def test_the_dtype_is_that_of_the_gradient():
    params = jnp.ones(2, jnp.bfloat16)
    tx = loose(ltd.nonfinite_random_step(1.0, fallback="shrink"))
    update, _ = tx.update(jnp.full(2, jnp.nan), tx.init(params), params)
    assert update.dtype == jnp.float32


def test_a_mask_under_inject_hyperparams():
    factory = optax.inject_hyperparams(
        ltd.nonfinite_random_step, static_args=("shrink_mask",)
    )
    tx = loose(
        factory(1.0, fallback="shrink", shrink_mask=lambda params: ONLY_RECURRENT)
    )
    update, _ = tx.update(BAD, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(update["cell"]["recurrent"], 0.08, rtol=1e-6)
    assert not update["bias"].any()
