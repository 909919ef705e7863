"""Leaves of every dtype, and trees with few leaves or none."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.transforms.factories import (
    KINDS,
    VARIANTS,
    each_variant,
    flat,
    same,
    signature,
)

# Under faults, every variant meets such leaves in the fast suite as well.
TELLING = (
    "clip_by_value",
    "clip_by_leaf_average_norm",
    "clip_per_example",
    "clip_or_random_step",
)
FLOAT0 = np.zeros(2, jax.dtypes.float0)
MIXED = {
    "bfloat16": jnp.array([3.0, -4.0], jnp.bfloat16),
    "bool": jnp.array([True]),
    "complex64": jnp.array([1 + 2j, 0], jnp.complex64),
    "empty": jnp.zeros((0, 3)),
    "float0": FLOAT0,
    "float16": jnp.array([[300.0], [400.0]], jnp.float16),
    "float32": jnp.array([3e20]),
    "int32": jnp.array([5, 6], jnp.int32),
    "masked": optax.MaskedNode(),
    "none": None,
    "scalar": jnp.array(2.0, jnp.float32),
}


@each_variant(fast=TELLING)
def test_leaves_without_a_direction_pass_and_every_dtype_stays(name):
    tx = VARIANTS[name].make()
    kept = {}

    @jax.jit
    def update(float32, state):
        new, state = tx.update(MIXED | {"float32": float32}, state, MIXED)
        kept.update(new)  # float0 and None do not leave a jitted function
        return {k: v for k, v in new.items() if k in numbers}, state

    numbers = set(MIXED) - {"float0", "masked", "none"}
    new, state = update(MIXED["float32"], tx.init(MIXED))
    assert kept["masked"] == optax.MaskedNode()
    assert kept["none"] is None
    assert (kept["float0"].dtype, kept["float0"].shape) == (FLOAT0.dtype, (2,))
    for key in numbers:
        assert signature(new[key]) == signature(MIXED[key])
    kept_numbers = (MIXED["bool"], MIXED["int32"])
    if VARIANTS[name].above == "skip":  # The step is none for them either.
        kept_numbers = jax.tree.map(jnp.zeros_like, kept_numbers)
    assert same((new["bool"], new["int32"]), kept_numbers)
    if VARIANTS[name].above in ("norm", "random"):  # rounded to bfloat16
        floats = {k: v for k, v in new.items() if k not in ("bool", "int32")}
        assert abs(np.linalg.norm(flat(floats)) - 1) < 2e-3
    new, state = update(jnp.array([jnp.nan]), state)
    leaves = [key for key in MIXED if key not in ("masked", "none")]
    assert state.record.first_bad_leaf == leaves.index("float32")
    if VARIANTS[name].nonfinite == "random":
        floats = {k: v for k, v in new.items() if k not in ("bool", "int32")}
        assert abs(np.linalg.norm(flat(floats)) - 1) < 2e-3


@each_variant(fast=TELLING)
def test_float64(name):
    variant = VARIANTS[name]
    with jax.enable_x64(True):
        tx = variant.make()
        params = {"a": jnp.array([1.0, 2.0]), "b": jnp.ones(2, jnp.float32)}
        state = tx.init(params)
        updates = {
            "a": jnp.array([3e200, -4e200]),
            "b": jnp.array([3.0, 0.0], jnp.float32),
        }
        new, new_state = jax.jit(tx.update)(updates, state, params)
        assert signature(new) == signature(updates)
        assert signature(new_state) == signature(state)
        expected = {
            "same": flat(updates),
            "adaptive": flat(updates),  # in the warm-up
            "value": np.array([1, -1, 1, 0]),
            "norm": np.array([0.6, -0.8, 0, 0]),
            "leaves": np.array([0.6, -0.8, 0, 0]),  # in the warm-up
            "skip": np.zeros(4),
        }.get(variant.above)
        if expected is not None:
            np.testing.assert_allclose(flat(new), expected, rtol=1e-14)
        else:
            np.testing.assert_allclose(np.linalg.norm(flat(new)), 1, rtol=1e-7)
        norm = 4e200 if variant.above == "value" else 5e200
        np.testing.assert_allclose(new_state.record.norm, norm, rtol=1e-14)


@each_variant(fast=KINDS)
def test_an_empty_tree(name):
    tx = VARIANTS[name].make()
    trees = [{}, None, {"a": optax.MaskedNode()}, {"a": jnp.zeros(0)}]
    update = jax.jit(lambda: [tx.update(tree, tx.init(tree), tree) for tree in trees])
    for empty, (new, state) in zip(trees, update(), strict=True):
        assert jax.tree.structure(new) == jax.tree.structure(empty)
        assert state.record.norm == 0
        assert state.record.nonfinite_count == 0
