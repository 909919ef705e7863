"""How a call's sequences lie in its arrays: time first for the loop, and back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax.nnx.nn.recurrent import flip_sequences

from optax_ltd._numerics.checks import as_array, refusal
from optax_ltd._numerics.example_norms import append_axes
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.cell.resets import begin_anew
from optax_ltd._recurrent.flow.information_flow import check_steps
from optax_ltd._recurrent.flow.record import FlowRecords

ReturnCarry = bool | Literal["all"]


class Sequences(NamedTuple):
    """The layout of one call of a recurrent layer, and what it returns.

    Attributes:
      num_batch_dims: how many axes are batch.
      time_axis: where time is outside the loop.
      reverse: whether the loop runs from the end.
      keep_order: whether outputs of a reversed sequence come in the input's order.
      return_carry: False, True for the last valid carry, or ``"all"``.
      lengths: ``[*batch]`` integers from 0 to that of time, or None if every step is
        valid.
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
        inputs: Any,
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
        num_batch_dims = _num_batch_dims(layer.cell, inputs)
        time_axis = 0 if chosen("time_major", time_major) else num_batch_dims
        if lengths is not None:
            lengths = as_array("seq_lengths", lengths)
            lead = list(_lead(inputs, 1 + num_batch_dims))
            steps = lead.pop(time_axis)
            _check_lengths(lengths, tuple(lead))
            # Of all integers, for the number of steps may be none of a narrow type.
            lengths = jnp.clip(jnp.asarray(lengths, int), 0, steps)
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

    def enter(self, name: str, timed: Any) -> Any:
        """What lies along time in the loop's order, ``[time, *batch, ...]``.

        An Inf or NaN beyond the lengths is 0: a loss that reads no output there has a
        gradient of 0 there, but 0 · NaN is NaN, in every product of the backward pass.

        Args:
          name: of the argument, for the message.
          timed: tree of arrays as they came.

        Raises:
          ValueError: if an array has no axes for time and batch.
        """

        def one(x: Any) -> jax.Array:
            if jnp.ndim(x) <= self.num_batch_dims:
                axes = 1 + self.num_batch_dims
                raise refusal(name, f"of {axes} or more axes, time and batch", x)
            x = jnp.moveaxis(x, self.time_axis, 0)
            return self._finite_padding(self._flip(x) if self.reverse else x)

        return jax.tree.map(one, timed)

    def call(
        self,
        inputs: Any,
        *,
        mask: jax.Array | None,
        resets: jax.Array | None,
        reset_carry: Any,
        key: jax.Array | None,
        record: Callable[[tuple[int, ...]], FlowRecords | None],
    ) -> Call:
        """What the loop is told of this call.

        Args:
          inputs: in the loop's order.
          mask: the steps that count in Ω, as it came, or None for all of them.
          resets: the steps before which the carry begins anew, as it came, or None.
          reset_carry: what it begins anew with.
          key: of the steps at which Ω is differentiated.
          record: makes the zeros for leading axes, or None.
        """
        lead = _lead(inputs, 1 + self.num_batch_dims)
        mask = self.steps("mask", mask, inputs)
        if self.lengths is not None:
            valid = self._valid(lead[0], self.lengths)
            mask = valid if mask is None else mask & valid
        return Call(
            self.num_batch_dims,
            mask=mask,
            key=key,
            record=record(lead),
            resets=self.steps("resets", resets, inputs),
            reset_carry=reset_carry,
        )

    def leave(self, start: Any, carry: Any, outputs: Any) -> Any:
        """What the layer returns.

        Args:
          start: the initial carry, the last one where there is no valid step.
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
            carry = _last_valid(start, carries, self.lengths)
        return (carry, outputs) if self.return_carry else outputs

    def steps(self, name: str, steps: Any, inputs: Any) -> jax.Array | None:
        """As :meth:`enter` for marked steps, which may be nested lists, or None.

        Args:
          name: of the argument, for the message.
          steps: booleans as they came.
          inputs: in the loop's order.
        """
        if steps is None:
            return None
        time, *shape = _lead(inputs, 1 + self.num_batch_dims)
        shape.insert(self.time_axis, time)
        marked = as_array(name, steps)
        check_steps(name, marked, tuple(shape))
        return self.enter(name, marked)

    def _back(self, timed: Any) -> Any:
        if self.reverse and self.keep_order:
            timed = jax.tree.map(self._flip, timed)
        return jax.tree.map(lambda y: jnp.moveaxis(y, 0, self.time_axis), timed)

    def _flip(self, x: jax.Array) -> jax.Array:
        return flip_sequences(x, self.lengths, self.num_batch_dims, time_major=True)

    def _finite_padding(self, x: jax.Array) -> jax.Array:
        if self.lengths is None or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        valid = append_axes(self._valid(x.shape[0], self.lengths), x)
        return jnp.where(valid | jnp.isfinite(x), x, 0)

    def _valid(self, steps: int, lengths: jax.Array) -> jax.Array:
        """``[time, *batch]``, the steps within the lengths."""
        index = jnp.arange(steps).reshape((-1,) + (1,) * self.num_batch_dims)
        return index < lengths


class StartCarries(NamedTuple):
    """What the first step starts from, and every step before which there is a reset."""

    initial: Any
    reset: Any


def start_carries(
    initial_carry: Any, reset_carry: Any, resets: Any, own: Callable[[], Any]
) -> StartCarries:
    """The carries as they were given, or the cell's own, which is made once.

    Args:
      initial_carry: of the call, or None.
      reset_carry: of the call, or None.
      resets: of the call; without them there is no reset carry.
      own: makes the cell's own initial carry.
    """
    given = [initial_carry] if resets is None else [initial_carry, reset_carry]
    made = own() if any(carry is None for carry in given) else None
    initial, *reset = [made if carry is None else carry for carry in given]
    return StartCarries(initial, reset[0] if reset else None)


def step_shapes(inputs: Any) -> Any:
    """The shapes of one step of inputs ``[time, *batch, *features]``."""
    return jax.tree.map(lambda x: x.shape[1:], inputs)


def _num_batch_dims(cell: Any, inputs: Any) -> int:
    """How many axes are batch: those that an input has beside time and features."""
    leaves = jax.tree.leaves(inputs)
    if not leaves:
        raise refusal("inputs", "an array or a tree of arrays", inputs)
    most = max(map(jnp.ndim, leaves))
    if most <= cell.num_feature_axes:
        required = f"of {1 + cell.num_feature_axes} or more axes, time and features"
        raise refusal("inputs", required, leaves[0])
    return most - cell.num_feature_axes - 1


def _lead(inputs: Any, axes: int) -> tuple[int, ...]:
    """The axes in front of all leaves; raises ValueError if they are not the same."""
    leads = {jnp.shape(leaf)[:axes] for leaf in jax.tree.leaves(inputs)}
    if len(leads) != 1:
        raise ValueError(
            "`inputs` must have the same time and batch axes in front of each leaf; "
            f"got {sorted(leads)}."
        )
    return leads.pop()


def check_return_carry(return_carry: Any) -> None:
    """Raises ValueError unless this is a boolean or ``"all"``."""
    if return_carry not in (False, True, "all"):
        raise refusal("return_carry", "True, False or 'all'", return_carry)


def check_cell(cell: Any, module: type, api: str) -> None:
    """Raises TypeError unless the cell is a module of this API of Flax, and a cell."""
    kind, a = (cell, "the class") if isinstance(cell, type) else (type(cell), "a")
    got = f"got {a} {kind.__module__}.{kind.__qualname__}"
    if not isinstance(cell, module):
        raise TypeError(f"`cell` must be a recurrent cell of {api}; {got}.")
    needed = ("__call__", "num_feature_axes")
    missing = [n for n in needed if not (hasattr(kind, n) or n in vars(cell))]
    if missing:
        raise TypeError(
            "`cell` must be a recurrent cell, with __call__(carry, x), "
            "initialize_carry and num_feature_axes; "
            f"{got} without {' and '.join(missing)}."
        )


@contextmanager
def blaming_carry(given: Any, own: Callable[[], Any]) -> Iterator[None]:
    """Where a call fails, says so if it was given another carry than the cell's own.

    Only then, for a cell may take more carries than the one it makes.

    Args:
      given: the initial carry of the call, or None.
      own: makes the cell's own.

    Raises:
      ValueError: that names ``initial_carry``, in place of the error.
    """
    try:
        yield
    except Exception as error:  # Whatever the cell says of such a carry.
        if given is None:
            raise
        try:
            expected = jax.eval_shape(own)
        except Exception:
            raise error from None
        trees = [jax.tree.structure(tree) for tree in (expected, given)]
        shapes = [list(map(jnp.shape, jax.tree.leaves(t))) for t in (expected, given)]
        if (trees[0], shapes[0]) == (trees[1], shapes[1]):
            raise
        raise ValueError(
            "`initial_carry` must have the structure and shapes of the cell's own, "
            f"{trees[0]} of {shapes[0]}; got {trees[1]} of {shapes[1]}."
        ) from error


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


def _last_valid(start: Any, carries: Any, lengths: jax.Array) -> Any:
    """The carry after the last valid step, from carries ``[T, *batch, ...]``."""

    def pick(x: jax.Array) -> jax.Array:
        index = jnp.maximum(lengths - 1, 0)[None]
        index = index.reshape(index.shape + (1,) * (x.ndim - index.ndim))
        return jnp.take_along_axis(x, index, axis=0)[0]

    return begin_anew(lengths == 0, start, jax.tree.map(pick, carries))
