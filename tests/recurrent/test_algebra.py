"""What holds for any numbers: drawn values, fixed shapes."""

from functools import cache
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis.extra import numpy as hnp

import optax_ltd as ltd
from tests.recurrent.cells import B, T, case, loss_of
from tests.recurrent.oracles import VARIANTS, assert_close

few = hypothesis.settings(max_examples=15, derandomize=True, deadline=None)
CASE = case("simple")


@cache
def _grad() -> Any:
    """∇L, ∇(L + Ω) and the record, for a loss multiplied by ``factor``."""

    def loss(params: Any, weight: Any, record: Any, factor: Any) -> Any:
        options: Any = {"flow_weight": weight, "flow_record": record}
        out = ltd.unroll(CASE.cell, params, CASE.carry, CASE.inputs, **options)
        return factor * loss_of(*out)

    grad = jax.grad(loss, (0, 2))

    def both(params: Any, factor: Any) -> Any:
        record = ltd.FlowRecord.zeros((T, B))
        off, _ = grad(params, jnp.zeros(()), record, factor)
        return off, *grad(params, jnp.ones(()), record, factor)

    return jax.jit(both)


@few
@hypothesis.given(
    hnp.arrays(np.float32, (4, 3), elements=st.floats(0, 1e3, width=32)),
    hnp.arrays(bool, (4, 3)),
    st.sampled_from(VARIANTS),
)
def test_the_penalty_is_not_negative(gains: Any, mask: Any, variant: Any):
    form, reduction = variant
    omega = ltd.flow_penalty(jnp.asarray(gains), mask, form=form, reduction=reduction)
    assert float(omega) >= 0
    at_one = not np.any(mask & (gains != 1))
    assert at_one == (float(omega) == 0) or np.any(np.abs(gains - 1) < 1e-20)


@few
@hypothesis.given(st.floats(-40, 40), st.sampled_from([-1.0, 1.0]))
def test_nothing_about_the_penalty_scales_with_the_loss(exponent: float, sign: float):
    factor = sign * 2.0**exponent
    off, on, record = _grad()(CASE.params, factor)
    off_1, on_1, record_1 = _grad()(CASE.params, 1.0)
    assert_close(record.gains, record_1.gains, 1e-5)
    assert_close(record.omega, record_1.omega, 1e-5)
    assert_close(record.error_norms, abs(factor) * record_1.error_norms, 1e-5)
    # ∇Ω is what is left of a sum with ∇L: it keeps the digits that ∇L leaves.
    left = 1e-6 * max(1, abs(factor)) * 10
    found, expected = (
        jax.tree.map(jnp.subtract, *p) for p in ((on, off), (on_1, off_1))
    )
    assert_close(found, expected, 1e-4, left)


@few
@hypothesis.given(st.integers(0, 10**6))
def test_an_orthogonal_linear_net_needs_no_penalty(seed: int):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    off, on, record = _orthogonal()(jnp.asarray(q, jnp.float32))
    np.testing.assert_allclose(record.gains, 1, atol=1e-5)
    assert float(record.omega) < 1e-8
    np.testing.assert_allclose(on, off, atol=1e-4)


@cache
def _orthogonal() -> Any:
    def cell(W: Any, h: Any, x: Any) -> Any:
        h = h @ W + jnp.pad(x, ((0, 0), (0, 2)))
        return h, h

    def loss(W: Any, weight: Any, record: Any) -> Any:
        options: Any = {"flow_weight": weight, "flow_record": record}
        _, y = ltd.unroll(cell, W, CASE.carry, CASE.inputs, **options)
        return jnp.sum(jnp.sin(y[-1]))

    def both(W: Any) -> Any:
        record = ltd.FlowRecord.zeros((T, B))
        off = jax.grad(loss)(W, jnp.zeros(()), record)
        return off, *jax.grad(loss, (0, 2))(W, jnp.ones(()), record)

    return jax.jit(both)
