"""The interface of ``nn.scan``, axes and all, before the loop with Ω."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import Scope, broadcast, lift

from optax_ltd._flax.linen.lifted_loop import (
    WITHOUT_FLAX,
    Lifting,
    loop_with_flow,
)
from optax_ltd._flax.linen.record_request import flow_record
from optax_ltd._numerics.checks import check_length, refusal
from optax_ltd._numerics.leaves import combine, inexact, partition
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.options import Options
from optax_ltd._recurrent.unroll import batch_axes, one_batch_axis


@dataclasses.dataclass(frozen=True)
class LiftedScan:
    """Makes the scan of a function of scopes, as ``flax.core.lift.scan`` does.

    Attributes:
      lifting: how variables and streams reach the steps.
      in_axes: where time is in each input; a prefix tree.
      out_axes: where time is in each output; a prefix tree.
      length: of time, or None if an input tells it.
      reverse: whether to run from the last time step to the first.
      resets: from what a step is given, where the body begins anew; or None.
      num_batch_dims: how many leading axes of the carry are batch, or None.
      options: of the loop.
    """

    # Flax puts it before the name of a class that it scans, and so into the paths of
    # parameters.
    __name__ = "scan"

    lifting: Lifting
    in_axes: Any
    out_axes: Any
    length: int | None
    reverse: bool
    resets: Callable[..., jax.Array] | None
    num_batch_dims: int | None
    options: Options

    def __call__(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """The scan of ``(scopes, carry, *xs) -> (carry, ys)``."""
        by_flax = lift.scan(
            body,
            in_axes=self.in_axes,
            out_axes=self.out_axes,
            length=self.length,
            reverse=self.reverse,
            unroll=self.options.unroll_of_scan,
            **self.lifting._asdict(),
        )

        def scanned(scopes: Sequence[Scope], carry: Any, *xs: Any) -> Any:
            if _creates_params(scopes):
                return by_flax(scopes, carry, *xs)
            timed, shared = self._parted(xs)
            length = check_length(timed, self.length)

            def lead() -> tuple[int, ...]:
                batch_dims = self._batch_dims(carry, timed)
                return (length, *batch_axes(timed, carry, batch_dims))

            record = flow_record(
                scopes[-1], lead, self.options.flow_groups, cell=scopes[-1]
            )
            if self._is_left_to_flax(record is not None):
                return by_flax(scopes, carry, *xs)
            off = self.options.has_every_derivative and record is None
            call = Call(
                1 if off else self._batch_dims(carry, timed),
                key=scopes[-1].make_rng("flow") if self.options.draws else None,
                record=record,
                resets=None if off else self._reset_steps(timed, shared, length),
            )
            carry, ys = self._loop(body, scopes, carry, timed, shared, length, call)
            return carry, _map_axes(_time_to, self.out_axes, ys)

        return scanned

    def _loop(
        self,
        body: Callable[..., Any],
        scopes: Sequence[Scope],
        carry: Any,
        timed: Any,
        shared: Any,
        length: int,
        call: Call,
    ) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(shared)
        flags = tuple(map(_is_inexact_array, leaves))
        arrays, others = partition(flags, leaves)

        def step(scopes: Any, carry: Any, x: Any, arrays: Any) -> Any:
            shared = jax.tree.unflatten(tree, combine(flags, arrays, others))
            return body(scopes, carry, *self._joined(x, shared))

        return loop_with_flow(
            step,
            scopes,
            carry,
            timed,
            arrays,
            length,
            reverse=self.reverse,
            lifting=self.lifting,
            options=self.options,
            call=call,
        )

    def _parted(self, xs: Any) -> tuple[Any, Any]:
        """Inputs with time first, and those that all steps are given."""
        timed = _map_axes(_time_first, self.in_axes, xs)
        shared = jax.tree.map(
            lambda axis, x: x if axis is broadcast else (), self.in_axes, xs
        )
        return timed, shared

    def _joined(self, timed: Any, shared: Any) -> Any:
        """Undoes :meth:`_parted`, for one step."""
        return jax.tree.map(
            lambda axis, x, same: same if axis is broadcast else x,
            self.in_axes,
            timed,
            shared,
        )

    def _batch_dims(self, carry: Any, timed: Any) -> int:
        if self.num_batch_dims is None:
            return one_batch_axis(carry, timed)
        return self.num_batch_dims

    def _reset_steps(self, timed: Any, shared: Any, length: int) -> Any:
        """``[T, *batch]``, the steps before which the body begins anew, or None."""
        resets = self.resets
        if resets is None:
            return None
        at = jax.vmap(lambda x: resets(*self._joined(x, shared)), axis_size=length)
        return at(timed)

    def _is_left_to_flax(self, observed: bool) -> bool:
        """Whether steps differ in what the loop with Ω has for all of them."""
        constants = broadcast in jax.tree.leaves(self.out_axes)
        if not (self.lifting.variable_axes or constants):
            return False
        if not self.options.changes_nothing or observed:
            self.lifting.check_shared()
            required = f"without nn.broadcast for {WITHOUT_FLAX}"
            raise refusal("out_axes", required, self.out_axes)
        return True


def _creates_params(scopes: Sequence[Scope]) -> bool:
    if not scopes[-1].is_mutable_collection("params"):
        return False
    made = any("params" in scope.variables() for scope in scopes)
    return scopes[-1].get_flag("initializing", False) or not made


def _map_axes(move: Callable[[Any, int], Any], axes: Any, tree: Any) -> Any:
    """Moves the arrays of a tree by a prefix of axes; others have no time."""

    def one(axis: Any, subtree: Any) -> Any:
        if axis is broadcast:
            return ()
        return jax.tree.map(lambda x: move(x, axis), subtree)

    return jax.tree.map(one, axes, tree)


def _time_first(x: Any, axis: int) -> Any:
    return x if axis == 0 else jnp.moveaxis(x, axis, 0)


def _time_to(y: Any, axis: int) -> Any:
    return y if axis == 0 else jnp.moveaxis(y, 0, axis)


def _is_inexact_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray) and inexact([leaf])[0]
