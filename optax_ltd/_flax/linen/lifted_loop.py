"""A Linen body over time with Ω in its backward pass, lifted as by Flax's ``scan``."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.core import Scope, lift

from optax_ltd._flax.linen.flow_params import chosen_collections
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.options import BESIDE_FLOW, Options
from optax_ltd._recurrent.unroll import unroll_with_state

# What Flax's own scan does not do.
WITHOUT_FLAX = ", ".join(("Ω", *BESIDE_FLOW, "a report"))


class Lifting(NamedTuple):
    """How variables and random streams reach the steps, as in ``nn.scan``.

    Attributes:
      variable_axes: collections with a value for each step.
      variable_broadcast: collections that steps share.
      variable_carry: collections that each step hands on to the next.
      split_rngs: whether the steps have keys of their own in a random stream.
    """

    variable_axes: Mapping[Any, Any]
    variable_broadcast: Any
    variable_carry: Any
    split_rngs: Mapping[Any, bool]

    @classmethod
    def of(cls, layer: Any) -> "Lifting":
        """What a layer holds as attributes of these names."""
        return cls(*(getattr(layer, name) for name in cls._fields))

    def check_shared(self) -> None:
        """Raises ValueError if a step has variables that others do not have."""
        if self.variable_axes:
            raise ValueError(
                f"`variable_axes` must be {{}} for {WITHOUT_FLAX}, so that steps share "
                f"parameters; got {self.variable_axes!r}."
            )


def loop_with_flow(
    body: Callable[..., Any],
    scopes: Sequence[Scope],
    carry: Any,
    inputs: Any,
    shared: Any,
    length: int,
    *,
    reverse: bool = False,
    lifting: Lifting,
    options: Options,
    call: Call,
) -> tuple[Any, Any]:
    """Scans a body whose variables exist over time, with Ω in its backward pass.

    Variables and random streams reach the body as under ``nn.scan``: broadcast
    collections are its parameters, carried ones its state where they are mutable, and
    each step has keys of its own of the streams that are split.

    Args:
      body: ``(scopes, carry, x, shared) -> (carry, y)``.
      scopes: of a module and of those that it holds, its own the last.
      carry: tree of ``[*batch, ...]``.
      inputs: tree of ``[time, *batch, ...]``.
      shared: tree of arrays that all steps are given, on which Ω does not act.
      length: of time.
      reverse: whether to run from the last time step to the first.
      lifting: how variables and streams reach the steps; without ``variable_axes``.
      options: of the layer.
      call: the arrays of this call.

    Returns:
      The final carry, and the outputs over time.
    """

    def ordered(timed: Any) -> Any:
        return jax.tree.map(lambda x: jnp.flip(x, 0), timed) if reverse else timed

    def run(scope_fn: Any, repack: Any, variables: Any, rngs: Any, *arrays: Any) -> Any:
        carry, inputs, arguments = arrays
        broadcast, carried = map(list, variables)
        state, fixed = _by_mutability(scopes[-1], carried)
        each, keys = _keys(rngs, lifting.split_rngs, length)

        def step(params: Any, carry: Any, state: Any, at: Any) -> Any:
            broadcast, fixed, (keys, arguments) = params
            x, each = at
            carried = [f | s for f, s in zip(fixed, state, strict=True)]
            both = tuple(e or s for e, s in zip(each, keys, strict=True))
            scope = scope_fn((broadcast, carried), both)
            carry, y = body(scope, carry, x, arguments)
            return carry, list(repack(scope)[0]), y

        start = (broadcast, fixed, (keys, arguments)), carry, state
        at = ordered((inputs, each))
        if jax.tree.leaves(rngs):
            # nn.scan traces a step twice, and each trace counts up the streams.
            jax.eval_shape(step, *start, jax.tree.map(lambda x: x[0], at))
        flow_params = chosen_collections(options.flow_params, broadcast), False, False
        final, state, outputs = unroll_with_state(
            step,
            *start,
            at,
            length,
            options=dataclasses.replace(options, flow_params=flow_params),
            call=call._replace(mask=ordered(call.mask), resets=ordered(call.resets)),
        )
        return (final, ordered(outputs)), (tuple(state),)

    groups = lifting.variable_broadcast, lifting.variable_carry
    lifted = lift.pack(run, groups, groups[1:], tuple(lifting.split_rngs))
    return lifted(scopes, carry, inputs, shared)


def _by_mutability(scope: Scope, carried: list[Any]) -> tuple[list, list]:
    """Collections, scope by scope: those that steps may change, and the others."""
    mutable = scope.is_mutable_collection
    return (
        [{name: c for name, c in g.items() if mutable(name)} for g in carried],
        [{name: c for name, c in g.items() if not mutable(name)} for g in carried],
    )


def _keys(
    rngs: Any, split_rngs: Mapping[Any, bool], length: int
) -> tuple[tuple, tuple]:
    """Streams whose keys differ from step to step, and those that steps share."""
    split = tuple(split_rngs.values())

    def over_time(key: jax.Array) -> jax.Array:
        return jax.random.split(key, length)

    groups = tuple(zip(rngs, split, strict=True))
    each = tuple(jax.tree.map(over_time, g) if s else () for g, s in groups)
    return each, tuple(() if s else g for g, s in groups)
