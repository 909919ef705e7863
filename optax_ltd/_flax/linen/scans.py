"""A Linen cell over time: through ``unroll``, or through Flax's own ``nn.scan``."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import jax
from flax import linen as nn
from flax.core import FrozenDict, lift, unfreeze
from flax.linen.transforms import lift_transform

from optax_ltd._flax.sequences import StartCarries
from optax_ltd._numerics.checks import check_time_axis, refusal
from optax_ltd._numerics.shards import varying_as
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.cell.program import as_pair
from optax_ltd._recurrent.cell.resets import begin_anew
from optax_ltd._recurrent.options import Options
from optax_ltd._recurrent.unroll import unroll_with_state


class _Layer(Protocol):
    """Those fields of ``nn.RNN`` that its scan takes."""

    @property
    def unroll(self) -> int: ...
    @property
    def variable_axes(self) -> Mapping[Any, Any]: ...
    @property
    def variable_broadcast(self) -> Any: ...
    @property
    def variable_carry(self) -> Any: ...
    @property
    def split_rngs(self) -> Mapping[Any, bool]: ...


def scan_cell(
    layer: _Layer,
    cell: nn.RNNCellBase,
    starts: StartCarries,
    at: Any,
    every_carry: bool,
) -> tuple[Any, Any]:
    """Scans a cell by Flax's own ``nn.scan``; it may create the cell's variables.

    Args:
      layer: the layer.
      cell: its cell.
      starts: the initial carry, and that of resets.
      at: inputs and resets, ``[time, *batch, ...]``; None without resets.
      every_carry: whether to return the carry of each step beside its output.
    """
    step = _step(every_carry)

    def body(cell: nn.RNNCellBase, carry: Any, at: Any) -> Any:
        x, reset = at
        if reset is not None:
            carry = begin_anew(reset, starts.reset, carry)
        return step(cell, carry, x)

    scan = nn.scan(
        body,
        unroll=layer.unroll,
        variable_axes=layer.variable_axes,
        variable_broadcast=layer.variable_broadcast,
        variable_carry=layer.variable_carry,
        split_rngs=layer.split_rngs,
    )
    start = jax.tree.map(partial(varying_as, at), starts.initial)
    return scan(cell, start, at)


def scan_cell_with_flow(
    layer: _Layer,
    cell: nn.RNNCellBase,
    carry: Any,
    inputs: Any,
    every_carry: bool,
    *,
    options: Options,
    call: Call,
) -> tuple[Any, Any]:
    """Scans a bound cell over time, with Ω in its backward pass.

    Variables and random streams reach the cell as under ``nn.scan``: broadcast
    collections are its parameters, carried ones its state where they are mutable, and
    each step has keys of its own of the streams that are split.

    Args:
      layer: the layer.
      cell: a cell whose variables exist.
      carry: tree of ``[*batch, ...]``.
      inputs: tree of ``[time, *batch, ...]``.
      every_carry: whether to return the carry of each step beside its output.
      options: of the layer.
      call: the arrays of this call.

    Returns:
      The final carry, and the outputs over time.
    """

    def transform(run_cell: Callable[..., Any]) -> Callable[..., Any]:
        def run(
            scope_fn: Any, repack: Any, variables: Any, rngs: Any, carry: Any, x: Any
        ) -> Any:
            broadcast, carried = map(list, variables)
            state, fixed = _by_mutability(cell, carried)
            length = check_time_axis("inputs", x)
            each, shared = _keys(rngs, layer.split_rngs, length)

            def step(params: Any, carry: Any, state: Any, at: Any) -> Any:
                broadcast, fixed, shared = params
                x, each = at
                carried = [f | s for f, s in zip(fixed, state, strict=True)]
                keys = tuple(e or s for e, s in zip(each, shared, strict=True))
                scope = scope_fn((broadcast, carried), keys)
                carry, y = run_cell(scope, carry, x)
                return carry, list(repack(scope)[0]), y

            start = (broadcast, fixed, shared), carry, state
            if jax.tree.leaves(rngs):
                # nn.scan traces a step twice, and each trace counts up the streams.
                jax.eval_shape(step, *start, jax.tree.map(lambda x: x[0], (x, each)))
            final, state, outputs = unroll_with_state(
                step,
                *start,
                (x, each),
                length,
                options=dataclasses.replace(
                    options, flow_params=_chosen(options.flow_params, broadcast)
                ),
                call=call,
            )
            return (final, outputs), (tuple(state),)

        groups = layer.variable_broadcast, layer.variable_carry
        return lift.pack(run, groups, groups[1:], tuple(layer.split_rngs))

    return lift_transform(transform, _step(every_carry))(cell, carry, inputs)


def _step(every_carry: bool) -> Callable[..., Any]:
    def step(cell: nn.RNNCellBase, carry: Any, x: Any) -> Any:
        carry, y = as_pair(cell(carry, x))
        return carry, (carry, y) if every_carry else y

    return step


def _by_mutability(cell: nn.Module, carried: list[Any]) -> tuple[list, list]:
    """Collections, scope by scope: those that steps may change, and the others."""
    mutable = cell.is_mutable_collection
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


def _chosen(flow_params: Any, broadcast: list[Any]) -> Any:
    """What Ω acts on, as ``unroll`` takes it for ``(broadcast, fixed, shared)``."""
    if isinstance(flow_params, str):
        of_scopes = [
            {name: flow_params if name == "params" else False for name in collections}
            for collections in broadcast
        ]
        return of_scopes, False, False
    if len(broadcast) != 1 or "params" not in broadcast[0]:
        required = (
            "'all' or 'recurrent' for a cell without parameters of its own or with a "
            "module from outside"
        )
        raise refusal("flow_params", required, flow_params)
    (collections,) = broadcast
    params = unfreeze(collections["params"])
    mask = flow_params(params) if callable(flow_params) else flow_params
    flags = jax.tree.leaves(_broadcast_mask(mask, params))
    tree = jax.tree.structure(collections["params"])
    of = dict.fromkeys(collections, False)
    return [of | {"params": jax.tree.unflatten(tree, flags)}], False, False


def _broadcast_mask(mask: Any, params: Any) -> Any:
    mask = unfreeze(mask) if isinstance(mask, FrozenDict) else mask
    paths = [
        "/".join(str(key.key) for key in path)
        for path, _ in jax.tree.leaves_with_path(params)
    ]
    try:
        flags = jax.tree.broadcast(mask, params)
        if not all(isinstance(flag, bool) for flag in jax.tree.leaves(flags)):
            raise TypeError
    except (TypeError, ValueError) as error:
        required = (
            "'all', 'recurrent', a tree of booleans that is a prefix of the cell's "
            f"parameters {paths}, or a function of them that returns one"
        )
        raise refusal("flow_params", required, mask) from error
    if not any(jax.tree.leaves(flags)):
        raise refusal("flow_params", f"a selection of at least one of {paths}", mask)
    return flags
