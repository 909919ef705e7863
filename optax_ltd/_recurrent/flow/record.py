"""What the backward pass of a recurrent layer saw, as the cotangent of zeros.

All that a backward pass can hand out is a cotangent for each input of the forward pass.
So the layer takes a record of zeros as one more input, which the forward pass does not
read, and puts what it saw where the cotangent of that input belongs. To JAX the loss is
then L(θ) + ⟨record, seen⟩ at record = 0: its value is L, and its derivative by the
record is ``seen``. This needs neither a callback nor a second pass, and obeys ``jit``,
``vmap`` and sharding as any gradient does. One price is that an input read twice gets
the sum of two cotangents: records of several calls add up, and count the calls.
"""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from optax_ltd._recurrent.groups import group_names


class FlowRecord(NamedTuple):
    """What the backward pass saw of the error signal; float32.

    With ``flow_groups`` there is one for each group, of its leaves of δ_t, δ_t J_t and
    the hidden state alone; only ``clipped`` and ``cut`` are of all leaves together.

    Attributes:
      error_norms: ``[T, B]``, ‖δ_t‖ of the loss as it was given.
      gains: ``[T, B]``, ‖δ_t J_t‖ / ‖δ_t‖; 0 where not active.
      active: ``[T, B]``, 1.0 where the step has an error signal, passes on what is
        finite, and is not masked.
      clipped: ``[T, B]``, 1.0 where ``carry_clip`` changed δ_t.
      cut: ``[T, B]``, 1.0 where the step hands nothing to the step before, because of
        ``truncate`` or of a reset.
      dropped_norms: ``[T, B]``, the norm of what ``truncate`` kept from the step
        before; in row 0 of what the initial carry gets.
      state_broken: ``[T, B]``, 1.0 where the hidden state after the step holds an Inf
        or a NaN.
      omega: the scalar Ω, before flow_weight.
      calls: the scalar 1, so that the sum of several records counts them.
    """

    error_norms: jax.Array
    gains: jax.Array
    active: jax.Array
    clipped: jax.Array
    cut: jax.Array
    dropped_norms: jax.Array
    state_broken: jax.Array
    omega: jax.Array
    calls: jax.Array

    @classmethod
    def zeros(cls, lead: tuple[int, ...]) -> "FlowRecord":
        """An empty record for leading axes ``lead`` = ``[T, B]``."""
        zeros = jnp.zeros(lead, jnp.float32)
        return cls(*(zeros,) * 7, omega=zeros.sum(), calls=zeros.sum())


# Of one layer: with `flow_groups` one record for each group, by its name.
FlowRecords: TypeAlias = FlowRecord | dict[str, FlowRecord]


def empty_records(flow_groups: Any, lead: tuple[int, ...]) -> FlowRecords:
    """What a layer with these groups is given to record in.

    Args:
      flow_groups: the option, a tree of names or None.
      lead: ``[T, B]``.
    """
    names = group_names(flow_groups)
    if names is None:
        return FlowRecord.zeros(lead)
    return {name: FlowRecord.zeros(lead) for name in names}


def leading_axes(records: FlowRecords) -> tuple[int, ...]:
    """The time and batch axes that a layer's records were made for."""
    first, *_ = [records] if isinstance(records, FlowRecord) else records.values()
    return first.gains.shape


def check_records(
    name: str, records: Any, flow_groups: Any, lead: tuple[int, ...]
) -> None:
    """Raises ValueError unless there is a record of these axes for each group."""
    required, got = (
        jax.tree.map(_axes, of, is_leaf=lambda x: isinstance(x, FlowRecord))
        for of in (empty_records(flow_groups, lead), records)
    )
    if required != got:
        names = group_names(flow_groups)
        zeros = f"FlowRecord.zeros({lead})"
        if names is not None:
            zeros = f"a dict of {zeros} for each of {names}"
        raise ValueError(f"`{name}` must be {zeros}; got one for {got}.")


def _axes(record: Any) -> Any:
    is_record = isinstance(record, FlowRecord)
    return record.gains.shape if is_record else type(record).__name__
