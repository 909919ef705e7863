"""Clipping each example's gradient, under gradients of every size and every fault."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import optax_ltd as ltd
from tests.transforms.factories import loose
from tests.transforms.faults import run_cases

COUNT, WIDTHS = 3, (2, 3)
DTYPES = {"float16": (-24, 15), "bfloat16": (-126, 127), "float32": (-126, 127)}
LIMITS = (1.0, 0.0, 0.3, 7.7, 1e4, 1e-6, 1e-20, 1e20, 1e-30, 1e30, np.inf)
FAST, SLOW = 60, 2000  # cases for each dtype


def _specials(dtype: Any) -> list[float]:
    info = jnp.finfo(dtype)
    ends = [float(info.max), -float(info.max), float(info.tiny)]
    return [*ends, 0.0, -0.0, np.inf, -np.inf, np.nan]


def _batches(dtype: Any, exponents: tuple[int, int]) -> Any:
    """A batch of examples, each of a size of its own, as one row an example."""
    entry = st.one_of(
        st.floats(-2, 2, width=32),
        st.floats(-2, 2, width=32),
        st.integers(0, 7).map(lambda i: ("special", _specials(dtype)[i])),
    )
    example = st.tuples(
        st.integers(*exponents), st.lists(entry, min_size=5, max_size=5)
    )
    end = float(jnp.finfo(dtype).max)

    def row(drawn: Any) -> list[float]:
        exponent, entries = drawn
        return [
            x[1]
            if isinstance(x, tuple)
            else float(np.clip(x * 2.0**exponent, -end, end))
            for x in entries
        ]

    rows = st.lists(example.map(row), min_size=COUNT, max_size=COUNT)
    return rows.map(lambda batch: np.array(batch).astype(dtype))


@jax.jit
def _clip(leaves: Any, max_norm: Any) -> Any:
    tx = loose(ltd.clip_per_example(max_norm))
    mean, state = tx.update(leaves, tx.init(None))
    return mean, state.record


def _check(batch: np.ndarray, max_norm: float) -> None:
    leaves = np.split(batch, np.cumsum(WIDTHS)[:-1], axis=1)
    mean, record = jax.device_get(_clip(leaves, np.float32(max_norm)))
    assert all(leaf.dtype == batch.dtype for leaf in mean)
    found, wide = np.concatenate(mean).astype(float), batch.astype(float)
    bad = ~np.isfinite(wide)
    np.testing.assert_array_equal(np.isfinite(found), ~bad.any(axis=0))
    assert record.total_count == 1
    assert record.nonfinite_count == bad.any()
    if bad.any():
        first = bad[np.argmax(bad.any(axis=1))]
        assert record.first_bad_leaf == (0 if first[: WIDTHS[0]].any() else 1)
        assert not np.isfinite(record.norm)
        assert record.clipped_count == 0
        return
    limit = float(np.float32(max_norm))
    norms = np.linalg.norm(wide, axis=1)
    factors = np.minimum(1, limit / np.where(norms > 0, norms, 1))
    factors = np.where(norms > limit, factors, 1)
    expected = (factors[:, None] * wide).mean(axis=0)
    info = jnp.finfo(batch.dtype)
    rounding = float(info.eps) * abs(expected) + 1e-6 * max(factors * norms)
    # What is subnormal may be flushed, in the examples, the weights and the mean.
    assert np.all(abs(found - expected) <= rounding + 4 * float(info.tiny))
    top = limit * (1 + 2 * float(info.eps)) + 4 * float(info.tiny)
    assert np.linalg.norm(found) <= top
    median, end = np.median(norms), float(jnp.finfo(jnp.float32).max)
    if abs(median - end) > 1e-5 * end:  # At the very end rounding decides.
        shown = median if median < end else np.inf
        np.testing.assert_allclose(record.norm, shown, rtol=1e-5, atol=1e-37)
    sure = (abs(norms - limit) > 1e-5 * limit) & ((norms == 0) | (norms > 1e-36))
    if sure.all():
        share = np.mean(norms > limit)
        np.testing.assert_allclose(record.recent_clips[-1], share, rtol=1e-6)
        assert record.clipped_count == (share > 0)


def _cases(dtype: str) -> Any:
    batches = _batches(jnp.dtype(dtype), DTYPES[dtype])
    return st.tuples(batches, st.sampled_from(LIMITS))


@pytest.mark.parametrize("dtype", DTYPES)
def test_under_fault(dtype):
    run_cases(_cases(dtype), lambda case: _check(*case), FAST, 0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_under_many_faults(dtype):
    run_cases(_cases(dtype), lambda case: _check(*case), SLOW, 1)
