"""The options that both layers have beside those of Flax's own."""

from typing import Any, Protocol

import jax

from optax_ltd._flax.sequences import check_return_carry
from optax_ltd._recurrent.carry_clip import check_carry_clip
from optax_ltd._recurrent.flow import information_flow
from optax_ltd._recurrent.flow_config import (
    FlowConfig,
    check_flow_fraction,
    check_flow_weight,
)
from optax_ltd._recurrent.loop.truncation import check_truncate


class _Layer(Protocol):
    return_carry: Any
    flow_weight: Any
    flow_form: information_flow.FlowForm
    flow_reduction: information_flow.FlowReduction
    flow_fraction: float
    carry_clip: Any
    truncate: int | None
    remat: bool


def check_cell(cell: Any, module: type, api: str) -> None:
    """Raises TypeError unless the cell is a module of this API of Flax."""
    if not isinstance(cell, module):
        kind, a = (cell, "the class") if isinstance(cell, type) else (type(cell), "a")
        raise TypeError(
            f"cell must be a recurrent cell of {api}, got {a} "
            f"{kind.__module__}.{kind.__qualname__}"
        )


def check_options(layer: _Layer) -> None:
    """Raises ValueError or TypeError that names the option out of range."""
    check_return_carry(layer.return_carry)
    check_flow_weight(layer.flow_weight)
    check_flow_fraction(layer.flow_fraction)
    information_flow.check_form(layer.flow_form, layer.flow_reduction)
    check_carry_clip(layer.carry_clip)
    check_truncate(layer.truncate)


def flow_config(
    layer: _Layer,
    weight: jax.typing.ArrayLike,
    key: jax.Array | None,
    mask: jax.Array | None,
) -> FlowConfig:
    """What one call of a layer is to do about Ω, but for parameters and record."""
    return FlowConfig(
        weight=weight,
        form=layer.flow_form,
        reduction=layer.flow_reduction,
        fraction=layer.flow_fraction,
        key=key,
        mask=mask,
        carry_clip=layer.carry_clip,
        truncate=layer.truncate,
        remat=layer.remat,
    )
