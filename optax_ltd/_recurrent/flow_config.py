"""What a scan is to do about the error signal, and whether it can."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_ltd._recurrent.carry_clip import CarryClip, check_carry_clip
from optax_ltd._recurrent.flow import information_flow
from optax_ltd._recurrent.flow.information_flow import FlowForm, FlowReduction
from optax_ltd._recurrent.flow.record import FlowRecord
from optax_ltd._recurrent.loop.truncation import check_truncate


class FlowConfig(NamedTuple):
    """What a scan is to do about Ω and δ; the fields are options of :func:`unroll`."""

    weight: jax.typing.ArrayLike = 0.0
    form: FlowForm = "ratio"
    reduction: FlowReduction = "sum"
    params: Any = "all"
    fraction: float = 1.0
    key: jax.Array | None = None
    mask: jax.Array | None = None
    carry_clip: CarryClip | None = None
    truncate: int | None = None
    remat: bool = False
    record: FlowRecord | None = None

    @property
    def off(self) -> bool:
        """Whether nothing adds Ω, bounds δ or watches it: every derivative exists."""
        return is_zero(self.weight) and self.record is None and not self.carry_clip

    @property
    def changes_nothing(self) -> bool:
        """Whether any scan over the cell would do."""
        return self.off and self.truncate is None and not self.remat

    def check(self, lead: tuple[int, ...]) -> None:
        """Raises ValueError or TypeError that names the argument out of range.

        Args:
          lead: time and batch axes of the inputs.
        """
        check_flow_weight(self.weight)
        information_flow.check_form(self.form, self.reduction)
        check_flow_fraction(self.fraction)
        check_carry_clip(self.carry_clip)
        check_truncate(self.truncate)
        if self.fraction < 1 and self.key is None and not is_zero(self.weight):
            raise ValueError(
                f"flow_fraction={self.fraction} needs flow_key, a PRNG key"
            )
        if self.mask is not None:
            information_flow.check_mask(self.mask, lead)
        if self.record is not None and self.record.gains.shape != lead:
            raise ValueError(
                f"flow_record must be FlowRecord.zeros({lead}), got one for "
                f"{self.record.gains.shape}"
            )

    def steps(self, index: jax.Array) -> jax.Array | None:
        """The places in ``index`` at which Ω is differentiated; None for all of them.

        Args:
          index: ``[T]``, the numbers of the steps in their sequence.
        """
        length = index.shape[0]
        if self.fraction == 1 or self.key is None or length == 0:
            return None
        key = jax.random.fold_in(self.key, index[0])
        count = max(1, round(self.fraction * length))
        return jnp.sort(jax.random.choice(key, length, (count,), replace=False))


def check_flow_weight(flow_weight: Any) -> None:
    """Raises unless ``flow_weight`` is a number >= 0 or a floating scalar array."""
    kind = (int, float, np.number)
    if isinstance(flow_weight, kind) and not isinstance(flow_weight, bool):
        if not (np.isfinite(flow_weight) and flow_weight >= 0):
            raise ValueError(
                f"flow_weight must be a finite number >= 0, got {flow_weight!r}"
            )
        return
    dtype, shape = (getattr(flow_weight, name, None) for name in ("dtype", "shape"))
    if dtype is None or shape != () or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            "flow_weight must be a number or a floating scalar array, got "
            f"{flow_weight!r}"
        )


def check_flow_fraction(fraction: Any) -> None:
    """Raises ValueError unless ``fraction`` is a number in (0, 1]."""
    kind = (int, float, np.number)
    number = isinstance(fraction, kind) and not isinstance(fraction, bool)
    if not (number and 0 < fraction <= 1):
        raise ValueError(f"flow_fraction must be a number in (0, 1], got {fraction!r}")


def is_zero(weight: Any) -> bool:
    """Whether this is the Python number 0, with which Ω is off."""
    return isinstance(weight, int | float) and weight == 0
