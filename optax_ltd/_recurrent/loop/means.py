"""Ω as a mean over terms, where a segment that is run again sees its own alone."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Flags, Leaves, combine, inexact, partition
from optax_ltd._recurrent.flow.record import FlowRecord
from optax_ltd._recurrent.groups import Groups


def nothing_seen(
    groups: Groups, lead: tuple[int, ...], carry: Leaves
) -> list[FlowRecord]:
    """Empty records that vary over the axes of ``jax.shard_map`` as the carry does."""
    record = FlowRecord.zeros(lead)
    like = partition(groups.is_hidden, carry)[0][0]
    varying = jax.tree.map(
        lambda zeros: jnp.zeros_like(like, shape=zeros.shape, dtype=zeros.dtype), record
    )._replace(calls=record.calls)
    return [varying] * groups.count


def sums_to_means(num_examples: int, apart: int) -> Any:
    """An identity whose backward pass turns Σ_t mean_b of Ω into the mean over terms.

    With B examples and n active steps of all segments together the mean is B/n times
    the sum. The two streams tell apart what of a cotangent is Ω's: it is c_L on one and
    c_L + c_Ω on the other, so c_L + B/n ((c_L + c_Ω) − c_L) is that of L and the mean.
    The Ω of a further group of carry leaves is over terms of its own number. It comes
    alone, in one more stream.

    It takes and returns what Ω acts on, returned ``apart`` times, the same values in
    the stream of L alone, and the records of the groups; the number of terms is that of
    the active steps in a record's cotangent.
    """

    @jax.custom_vjp
    def same(regularised: Leaves, plain: Leaves, records: list[FlowRecord]) -> Any:
        return ([regularised] * apart, plain), records

    def forward(*args: Any) -> Any:
        return same(*args), inexact(args[0])

    def backward(flags: Flags, cotangents: Any) -> Any:
        (with_flow, without), records = cotangents
        terms = [jnp.maximum(1, jnp.sum(r.active, dtype=int)) for r in records]
        shares = [num_examples / n for n in terms]
        loss, _ = partition(flags, without)
        (both, rest), *others = (partition(flags, part) for part in with_flow)
        total = [p + shares[0] * (b - p) for p, b in zip(loss, both, strict=True)]
        for share, (extra, _) in zip(shares[1:], others, strict=False):
            total = [t + share * e for t, e in zip(total, extra, strict=True)]
        total = [t.astype(p.dtype) for t, p in zip(total, loss, strict=True)]
        records = [
            record._replace(omega=share * record.omega)
            for record, share in zip(records, shares, strict=True)
        ]
        return combine(flags, total, rest), without, records

    same.defvjp(forward, backward)
    return same
