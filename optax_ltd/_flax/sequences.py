"""How a call's sequences lie in its arrays: time first for the loop, and back."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax.nnx.nn.recurrent import flip_sequences

from optax_ltd._numerics.checks import refusal

ReturnCarry = bool | Literal["all"]


class Sequences(NamedTuple):
    """The layout of one call of a recurrent layer, and what it returns.

    Attributes:
      num_batch_dims: how many axes are batch.
      time_axis: where time is outside the loop.
      reverse: whether the loop runs from the end.
      keep_order: whether outputs of a reversed sequence come in the input's order.
      return_carry: False, True for the last valid carry, or ``"all"``.
      lengths: ``[*batch]`` integers, or None if every step is valid.
    """

    num_batch_dims: int
    time_axis: int
    reverse: bool
    keep_order: bool
    return_carry: ReturnCarry
    lengths: jax.Array | None

    @classmethod
    def of(
        cls,
        layer: Any,
        inputs: jax.Array,
        lengths: jax.Array | None,
        *,
        time_major: bool | None,
        reverse: bool | None,
        keep_order: bool | None,
        return_carry: ReturnCarry | None,
    ) -> "Sequences":
        """The layout of a call; what is None here is as the layer has it."""

        def chosen(name: str, given: Any) -> Any:
            return getattr(layer, name) if given is None else given

        returned: ReturnCarry = chosen("return_carry", return_carry)
        check_return_carry(returned)
        num_batch_dims = inputs.ndim - layer.cell.num_feature_axes - 1
        time_axis = 0 if chosen("time_major", time_major) else num_batch_dims
        if lengths is not None:
            lead = list(inputs.shape[: 1 + num_batch_dims])
            del lead[time_axis]
            _check_lengths(lengths, tuple(lead))
        return cls(
            num_batch_dims,
            time_axis,
            chosen("reverse", reverse),
            chosen("keep_order", keep_order),
            returned,
            lengths,
        )

    @property
    def every_carry(self) -> bool:
        """Whether the loop has to give the carry of each step."""
        last_valid = self.return_carry and self.lengths is not None
        return self.return_carry == "all" or bool(last_valid)

    def enter(self, inputs: jax.Array) -> jax.Array:
        """Inputs in the loop's order, ``[time, *batch, *features]``."""
        inputs = jnp.moveaxis(inputs, self.time_axis, 0)
        return self._flip(inputs) if self.reverse else inputs

    def mask(self, length: int) -> jax.Array | None:
        """Which steps are valid, ``[time, *batch]``, or None for all of them."""
        if self.lengths is None:
            return None
        steps = jnp.arange(length).reshape((-1,) + (1,) * self.num_batch_dims)
        return steps < self.lengths

    def leave(self, carry: Any, outputs: Any) -> Any:
        """What the layer returns.

        Args:
          carry: the final carry.
          outputs: over time; beside them every carry, if :attr:`every_carry`.
        """
        carries = None
        if self.every_carry:
            carries, outputs = outputs
        outputs = self._back(outputs)
        if self.return_carry == "all":
            return self._back(carries), outputs
        if self.lengths is not None and self.every_carry:
            carry = _last_valid(carries, self.lengths)
        return (carry, outputs) if self.return_carry else outputs

    def _back(self, timed: Any) -> Any:
        if self.reverse and self.keep_order:
            timed = jax.tree.map(self._flip, timed)
        return jax.tree.map(lambda y: jnp.moveaxis(y, 0, self.time_axis), timed)

    def _flip(self, x: jax.Array) -> jax.Array:
        return flip_sequences(x, self.lengths, self.num_batch_dims, time_major=True)


def check_return_carry(return_carry: Any) -> None:
    """Raises ValueError unless this is a boolean or ``"all"``."""
    if return_carry not in (False, True, "all"):
        raise refusal("return_carry", "True, False or 'all'", return_carry)


def check_cell(cell: Any, module: type, api: str) -> None:
    """Raises TypeError unless the cell is a module of this API of Flax."""
    if not isinstance(cell, module):
        kind, a = (cell, "the class") if isinstance(cell, type) else (type(cell), "a")
        raise TypeError(
            f"`cell` must be a recurrent cell of {api}; got {a} "
            f"{kind.__module__}.{kind.__qualname__}."
        )


def check_same_lead(first: tuple[int, ...], lead: tuple[int, ...]) -> None:
    """Raises ValueError unless two calls of a layer have the same axes."""
    if first != lead:
        raise ValueError(
            "every call of a shared FlowRNN must have the same time and batch axes for "
            f"one report: {first}; got {lead}."
        )


def _check_lengths(lengths: Any, batch: tuple[int, ...]) -> None:
    dtype, shape = jnp.result_type(lengths), jnp.shape(lengths)
    if not jnp.issubdtype(dtype, jnp.integer) or shape != batch:
        raise ValueError(
            f"`seq_lengths` must be integers of shape [*batch] = {batch}; "
            f"got {dtype} {shape}."
        )


def _last_valid(carries: Any, lengths: jax.Array) -> Any:
    """The carry after the last valid step, from carries ``[T, *batch, ...]``."""

    def pick(x: jax.Array) -> jax.Array:
        index = (lengths - 1) % x.shape[0]
        index = index.reshape((1, *index.shape) + (1,) * (x.ndim - 1 - index.ndim))
        return jnp.take_along_axis(x, index, axis=0)[0]

    return jax.tree.map(pick, carries)
