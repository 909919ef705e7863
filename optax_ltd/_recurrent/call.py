"""What one call of a recurrent layer brings beside its options."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import refusal
from optax_ltd._recurrent.flow.information_flow import check_steps
from optax_ltd._recurrent.flow.listening import Listener
from optax_ltd._recurrent.flow.record import FlowRecords, check_records
from optax_ltd._recurrent.options import Options


class Call(NamedTuple):
    """One call: where its batch is, and its arrays.

    Attributes:
      num_batch_dims: how many axes after time are batch.
      mask: ``[T, *batch]`` boolean, the steps that count in Ω, or None for all.
      resets: ``[T, *batch]`` boolean, the steps before which the carry begins anew, or
        None for none.
      reset_carry: tree like the carry, what it begins with; None if the cell itself
        begins anew at those steps.
      key: PRNG key of the steps at which Ω is differentiated, or None.
      record: zeros whose cotangent is what the backward pass saw, with groups one of
        each by its name; or None.
      listener: whom to ask for a record once the call is known; None for nobody.
    """

    num_batch_dims: int
    mask: jax.Array | None = None
    key: chex.PRNGKey | None = None
    record: FlowRecords | None = None
    resets: jax.Array | None = None
    reset_carry: Any = None
    listener: Listener | None = None

    def check(self, options: Options, lead: tuple[int, ...]) -> None:
        """Raises ValueError that names what does not fit.

        Args:
          options: of the layer.
          lead: time and batch axes.
        """
        if options.draws and self.key is None:
            required = f"a PRNG key with flow_fraction={options.flow_fraction}"
            raise refusal("flow_key", required, None)
        for name, steps in (("mask", self.mask), ("resets", self.resets)):
            if steps is not None:
                check_steps(name, steps, lead)
        if self.record is not None:
            check_records("flow_record", self.record, options.flow_groups, lead)

    def answered(self, options: Options, lead: tuple[int, ...], near: Any) -> "Call":
        """The call with the record that its listener has for it.

        Args:
          options: of the layer.
          lead: time and batch axes.
          near: all arrays that the call reads.
        """
        if self.listener is None:
            return self
        return self._replace(record=self.listener(lead, options.flow_groups, near))

    def steps(self, share: float, index: jax.Array) -> jax.Array | None:
        """The places in ``index`` at which Ω is differentiated; None for all of them.

        Args:
          share: of the steps.
          index: ``[T]``, the numbers of the steps in their sequence.
        """
        length = index.shape[0]
        if share == 1 or self.key is None or length == 0:
            return None
        key = jax.random.fold_in(self.key, index[0])
        count = max(1, round(share * length))
        return jnp.sort(jax.random.choice(key, length, (count,), replace=False))
