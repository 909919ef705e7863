"""Laws that hold for every gradient, finite or not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.factories import (
    PARAMS,
    VARIANTS,
    flat,
    gradient,
    jitted_update,
    same,
)

steady = settings(derandomize=True, deadline=None, max_examples=40)
normal = {"allow_subnormal": False, "width": 32}
finite = st.floats(-(2.0**127), 2.0**127, **normal)
ordinary = st.floats(-1e3, 1e3, **normal).filter(lambda x: x == 0 or abs(x) > 1e-3)
anything = st.one_of(finite, st.sampled_from([np.inf, -np.inf, np.nan]))
FRESH = {name: VARIANTS[name].make().init(PARAMS) for name in VARIANTS}


def _apply(name: str, *entries: Any) -> Any:
    return jitted_update(name)(gradient(*entries), FRESH[name], PARAMS)[0]


def _norm(entries):
    return np.linalg.norm(np.ldexp(np.asarray(entries, np.float64), -100)) * 2.0**100


@steady
@given(st.tuples(finite, finite, finite, finite))
def test_a_clipped_norm_is_the_smaller_of_norm_and_threshold(entries):
    clipped = _norm(flat(_apply("clip_by_global_norm", *entries)))
    np.testing.assert_allclose(clipped, min(_norm(entries), 1), rtol=1e-6)


@steady
@given(st.tuples(finite, finite, finite, finite))
def test_clipping_keeps_the_direction(entries):
    clipped = flat(_apply("clip_by_global_norm", *entries))
    scale = min(1, 1 / max(_norm(entries), 1e-300))
    np.testing.assert_allclose(
        clipped, np.array(entries, np.float64) * scale, rtol=1e-6, atol=1e-37
    )


@steady
@given(st.tuples(finite, finite, finite, finite))
def test_clipping_by_value_twice_is_clipping_once(entries):
    once = _apply("clip_by_value", *entries)
    np.testing.assert_array_equal(
        flat(once), np.clip(np.array(entries, np.float32), -1, 1)
    )
    assert same(once, _apply("clip_by_value", *flat(once)))


@steady
@given(ordinary, ordinary, ordinary, ordinary, st.integers(1, 80))
def test_above_the_threshold_only_the_direction_matters(a, b, c, d, exponent):
    entries = np.array([a + 2, b, c, d], np.float32)
    if _norm(entries) <= 1:
        return
    left = flat(_apply("clip_by_global_norm", *entries))
    right = flat(_apply("clip_by_global_norm", *np.ldexp(entries, exponent)))
    np.testing.assert_allclose(left, right, rtol=1e-6)


@steady
@given(st.tuples(anything, anything, anything, anything))
def test_the_guard_lets_out_a_finite_update_of_bounded_norm(entries):
    for name in ("clip_or_random_step", "clip_or_random_step-sphere"):
        assert _norm(flat(_apply(name, *entries))) <= 1 + 1e-6


@steady
@given(st.tuples(anything, anything, anything, anything))
def test_a_clip_leaves_as_much_that_is_not_finite_as_came(entries):
    for name, variant in VARIANTS.items():
        if variant.nonfinite == "same":
            bad = ~np.isfinite(flat(_apply(name, *entries)))
            np.testing.assert_array_equal(bad, ~np.isfinite(entries))


@steady
@given(ordinary, ordinary, ordinary, ordinary)
def test_the_order_of_leaves_does_not_matter_to_the_norm(a, b, c, d):
    update = jitted_update("clip_by_global_norm")
    state = FRESH["clip_by_global_norm"]
    _, one = update(gradient(a, b, c, d), state, PARAMS)
    _, two = update(gradient(c, d, b, a), state, PARAMS)
    np.testing.assert_allclose(one.record.norm, two.record.norm, rtol=1e-6)


def test_fresh_states_are_arrays():
    leaves = jax.tree.leaves(FRESH)
    assert leaves
    assert all(isinstance(leaf, jnp.ndarray) for leaf in leaves)
